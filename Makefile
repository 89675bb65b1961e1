# Every target sets up what it needs: a virtual environment in .venv, from constraints.txt.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROUNDS ?= 240
STAMP := $(VENV)/.installed
NEWEST := .venv-newest
# setuptools warns in a box of asterisks of folders named as the package, of which there are none here.
QUIETLY := PYTHONWARNINGS="ignore:Editable installation"
# The rooms whose tests need no server and no database.
QUICK := tests/models tests/providers tests/recipients tests/reporting tests/sending tests/packaging

export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1

.DEFAULT_GOAL := help
.PHONY: help install check demo test test-ci test-ui lint types wheel server up down docs docs-images kill-test receipts-test walk-away bench newest lock sbom clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Install the package and the development tools into .venv

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say make PYTHON=python3.12"; exit 1; }
	@echo "Installing the package and its tools into $(VENV), once: about 200 packages, one to five minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(QUIETLY) $(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[sandbox]'
	@touch $(STAMP)

newest: ## Run the tests with the newest of every dependency, without constraints, in .venv-newest
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade pip
	$(QUIETLY) $(NEWEST)/bin/python -m pip install --quiet --group dev --editable '.[sandbox]'
	$(NEWEST)/bin/python -m pip list --format freeze --exclude-editable
	$(NEWEST)/bin/python -m pytest -n 2 --dist loadfile -m "not ui and not wheel"

demo: $(STAMP) ## Run a whole broadcast on this machine and compare what every side saw
	$(BIN)/prefect-whatsapp demo

check: $(STAMP) ## Check style and the quick tests, in under a minute: what to run while you work
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -n 2 $(QUICK) -m "not server and not slow and not ui and not wheel"

test: $(STAMP) ## Run the tests; the ones that take minutes each are in test-ci and test-ui
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-ci: $(STAMP) ## Run the tests that take minutes: kills, canaries in every log, workers, each block of the documents
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "ci and not ui and not wheel"

test-ui: $(STAMP) ## Run the tests of the UI in Chromium, of deployments, automations and server replicas; about four minutes
	$(BIN)/python -m pytest tests/ui tests/deployments/test_replicas.py -m ui

lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## Check types with mypy (strict) and pyright
	$(BIN)/mypy
	$(BIN)/pyright

wheel: $(STAMP) ## Build the wheel and check it in a clean environment
	$(BIN)/python -m pytest tests/packaging -m wheel

bench: $(STAMP) ## Measure against the floor and what one would use instead; about half an hour
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python tests/bench $(BENCH)

server: $(STAMP) ## Start a Prefect server with the settings of deployments/server.env
	set -a; . deployments/server.env; set +a; $(BIN)/prefect server start

up: $(STAMP) ## Start a Prefect server, a worker, simulated services and a local S3, with blocks and deployments there
	@$(BIN)/python deployments/up.py up

down: $(STAMP) ## Stop what `make up` started; its ledger and runs are kept
	@$(BIN)/python deployments/up.py down

lock: $(STAMP) ## Write requirements.lock, every file of the image by its hash, from constraints.txt
	$(BIN)/python deployments/lock.py

sbom: $(STAMP) ## Write sbom.cdx.json, what the image installs, as CycloneDX
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group sbom
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --output-file sbom.cdx.json

docs: $(STAMP) ## Write docs/reference from the docstrings
	$(BIN)/python docs/make_reference.py

docs-images: $(STAMP) ## Take the pictures of docs/ anew, by Chromium on the real UI
	mkdir -p docs/images
	PREFECT_WHATSAPP_DOCS_IMAGES=$(CURDIR)/docs/images $(BIN)/python -m pytest tests/ui/test_browser.py -m ui

kill-test: $(STAMP) ## Kill broadcasts at every moment, run them again, compare (ROUNDS=240)
	$(BIN)/python tests/kill/rounds.py --rounds $(ROUNDS) --figures docs/figures

receipts-test: ROUNDS = 200
receipts-test: $(STAMP) ## Kill runs and lose answers while receipts come, see each unknown resolved (ROUNDS=200)
	$(BIN)/python tests/kill/receipts.py --rounds $(ROUNDS) --figures docs/figures

walk-away: $(STAMP) ## Kill flow and worker at random moments and touch nothing else: 64 rounds a database, four side by side; 100 minutes
	for database in sqlite postgresql; do \
		$(BIN)/python tests/kill/walk_away.py --database $$database --output docs/figures $(WALK) || exit 1; done

clean: ## Remove what the targets made
	rm -rf $(VENV) $(NEWEST) sbom.cdx.json build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
