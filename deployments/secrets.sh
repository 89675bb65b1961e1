#!/usr/bin/env bash
# Passwords and keys for a Prefect server and what it needs, new each time, as an env file on standard output.
#
#   umask 077; deployments/secrets.sh > .env
set -euo pipefail

random() { # a password of 24 letters and digits, which no URL, shell or env file has to quote
    LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 24 || true
}

login="admin:$(random)"
cat <<EOT
PREFECT_SERVER_API_AUTH_STRING=$login
PREFECT_API_AUTH_STRING=$login
PREFECT_SERVER_ENCRYPTION_KEY=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')
POSTGRES_PASSWORD=$(random)
PREFECT_DATABASE_PASSWORD=$(random)
LEDGER_PASSWORD=$(random)
REDIS_PASSWORD=$(random)
EOT
