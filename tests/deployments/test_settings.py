"""The files of `deployments/`: each parses, and each setting in them is one that Prefect knows."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import Settings
from prefect_whatsapp.cli.prefect_server import SERVER_SETTINGS

DEPLOYMENTS = Path(__file__).resolve().parents[2] / "deployments"
ENV_FILES = ["server.env", "secure.env", "postgresql.env", "replicas/replicas.env"]
# Of prefect-redis, which is no dependency of the pack: its own settings, which Prefect itself doesn't read.
REDIS = "PREFECT_REDIS_"
# Prefect reads the key from the environment itself; the other is PostgreSQL's password for the init script.
NO_SETTING = {"PREFECT_SERVER_ENCRYPTION_KEY", "PREFECT_DATABASE_PASSWORD"}


def read_env(name: str) -> dict[str, str]:
    """The assignments of an env file."""
    lines = [line for line in (DEPLOYMENTS / name).read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*=[^\s'\"]*", line) for line in lines), "a shell and Docker read it alike"
    return dict(line.split("=", 1) for line in lines)


def understood(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Those of the settings that Prefect reads from the environment."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    unset = set(Settings().to_environment_variables(exclude_unset=True))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return set(Settings().to_environment_variables(exclude_unset=True)) - unset


def composed() -> dict[str, Any]:
    """The compose file."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "replicas" / "compose.yaml").read_text())
    return loaded


@pytest.fixture(autouse=True)
def _no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "none.toml"))
        yield


def test_the_env_file_the_profile_and_the_sandbox_have_the_same_server_settings() -> None:
    profiles = tomllib.loads((DEPLOYMENTS / "profiles.toml").read_text())["profiles"]
    assert read_env("server.env") == dict(SERVER_SETTINGS) == profiles["whatsapp-server"]


@pytest.mark.parametrize("name", ENV_FILES)
def test_prefect_knows_each_setting_of_the_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {key: value for key, value in read_env(name).items() if not key.startswith(REDIS)}
    assert understood(settings, monkeypatch) == set(settings)


def test_prefect_knows_each_setting_of_the_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in tomllib.loads((DEPLOYMENTS / "profiles.toml").read_text())["profiles"].values():
        with monkeypatch.context() as patch:
            assert understood(settings, patch) == set(settings)


def test_an_unknown_setting_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert understood({"PREFECT_SERVER_NO_SUCH_SETTING": "1"}, monkeypatch) == set()


@pytest.mark.parametrize("name", ENV_FILES)
def test_each_setting_has_a_comment_above_it(name: str) -> None:
    lines = (DEPLOYMENTS / name).read_text().splitlines()
    bare = [
        line
        for above, line in pairwise(lines)
        if "=" in line and not line.startswith("#") and not above.startswith(("#", "PREFECT_REDIS"))
    ]
    assert not bare


def test_the_profile_reaches_the_prefect_command(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    told = subprocess.run(
        [sys.executable, "-m", "prefect", "--profile", "whatsapp-server", "config", "view", "--hide-sources"],
        env={
            **environment,
            "PREFECT_HOME": str(tmp_path),
            "PREFECT_PROFILES_PATH": str(DEPLOYMENTS / "profiles.toml"),
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    for name, value in SERVER_SETTINGS.items():
        assert re.search(rf"{name}='{value}(\.0)?'", told), name


def test_a_shell_reads_the_env_files(tmp_path: Path) -> None:
    script = "set -aeu; " + " ".join(f". {DEPLOYMENTS / name};" for name in ENV_FILES) + " env"
    told = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    ).stdout
    last = {key: value for name in ENV_FILES for key, value in read_env(name).items()}
    for key, value in last.items():
        assert f"{key}={value}\n" in told


def test_prefect_redis_is_what_the_replicas_share_and_no_dependency_of_the_pack() -> None:
    settings = read_env("replicas/replicas.env")
    assert {value.partition(".")[0] for key, value in settings.items() if "prefect_redis" in value} == {"prefect_redis"}
    pyproject = tomllib.loads((DEPLOYMENTS.parent / "pyproject.toml").read_text())
    assert "prefect-redis" not in str(pyproject["project"])


@pytest.mark.skipif(not importlib.util.find_spec("prefect_redis"), reason="prefect-redis is not installed")
def test_the_modules_that_the_replicas_name_are_there() -> None:
    for value in read_env("replicas/replicas.env").values():
        if value.startswith("prefect_redis."):
            assert importlib.util.find_spec(value)


def test_the_compose_file_starts_what_the_env_files_speak_of() -> None:
    services = composed()["services"]
    assert set(services) == {"postgres", "redis", "migrate", "server", "proxy", "worker"}
    for name, service in services.items():
        for needed in service.get("depends_on", []):
            assert needed in services, name
        for file in service.get("env_file", []):
            assert (DEPLOYMENTS / "replicas" / file).is_file(), name
    build = composed()["services"]["server"]["build"]
    context = (DEPLOYMENTS / "replicas" / build["context"]).resolve()
    assert context == DEPLOYMENTS.parent
    assert (context / build["dockerfile"]).is_file()


def test_prefect_knows_each_setting_of_the_compose_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in composed()["services"].values():
        given = {name: value for name, value in service.get("environment", {}).items() if name not in NO_SETTING}
        settings = {
            key: value for key, value in given.items() if key.startswith("PREFECT_") and not key.startswith(REDIS)
        }
        with monkeypatch.context() as patch:
            assert understood(settings, patch) == set(settings)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not on this machine")
def test_the_script_of_the_replicas_parses_and_says_how_it_is_used() -> None:
    script = DEPLOYMENTS / "replicas" / "replicas.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    told = subprocess.run(["bash", script], capture_output=True, text=True)
    assert told.returncode == 2
    assert "usage" in told.stderr


def test_the_proxy_passes_websockets() -> None:
    for text in ((DEPLOYMENTS / "replicas" / "nginx.conf").read_text(), composed()["configs"]["proxy"]["content"]):
        assert "proxy_set_header Upgrade" in text
        assert "proxy_http_version 1.1" in text


def test_the_readme_names_every_file_and_every_file_that_it_names_is_there() -> None:
    text = (DEPLOYMENTS / "README.md").read_text()
    files = {path.name for path in DEPLOYMENTS.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    named = set(re.findall(r"`(?:replicas/)?([\w.-]+\.(?:env|toml|sh|conf|yaml|py))`|`(Dockerfile)`", text))
    names = {name for pair in named for name in pair if name}
    assert names <= files
    ours = [
        *DEPLOYMENTS.glob("*.env"),
        *DEPLOYMENTS.glob("*.sh"),
        *DEPLOYMENTS.glob("*.toml"),
        *(DEPLOYMENTS / "replicas").iterdir(),
    ]
    assert {path.name for path in ours} <= names


def secrets() -> dict[str, str]:
    """What `secrets.sh` makes."""
    made = subprocess.run([str(DEPLOYMENTS / "secrets.sh")], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in made.splitlines())


def test_the_secrets_are_new_each_time_and_long() -> None:
    first, second = secrets(), secrets()
    assert set(first) == set(second)
    for name, value in first.items():
        assert value != second[name], name
        assert len(value) >= 24, name
        assert re.fullmatch(r"[\w:=-]+", value), "a shell, Docker and a URL read it alike"
    assert first["PREFECT_SERVER_API_AUTH_STRING"] == first["PREFECT_API_AUTH_STRING"]
    from cryptography.fernet import Fernet

    Fernet(first["PREFECT_SERVER_ENCRYPTION_KEY"])


def test_no_file_of_the_deployments_holds_a_password_and_compose_asks_for_each() -> None:
    text = (DEPLOYMENTS / "replicas" / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?\}", text)) == set(secrets())
    assert not re.search(r"\$\{\w+(?!:\?\}|\w)", text), "a variable that is missing must be an error"
    for file in [*DEPLOYMENTS.rglob("*.env"), *DEPLOYMENTS.rglob("*.yaml"), *DEPLOYMENTS.rglob("*.md")]:
        assert "change-me" not in file.read_text(), file
        assert not re.search(r"://[\w-]+:[^$<@/\s]+@", file.read_text()), file


def test_nothing_listens_for_others_without_tls_and_nothing_runs_as_root() -> None:
    plain = (DEPLOYMENTS / "replicas" / "nginx.conf").read_text()
    assert set(re.findall(r"listen ([^;]+);", plain)) == {"127.0.0.1:4100"}
    services = composed()["services"]
    assert [port for service in services.values() for port in service.get("ports", [])] == ["127.0.0.1:4200:4200"]
    assert "\nUSER prefect\n" in (DEPLOYMENTS / "replicas" / "Dockerfile").read_text()
    assert {".git", ".env", ".venv*", ".up"} <= set((DEPLOYMENTS.parent / ".dockerignore").read_text().splitlines())


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx or openssl is not installed")
@pytest.mark.parametrize("name", ["nginx.conf", "nginx-tls.conf"])
def test_nginx_takes_the_file(name: str, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=prefect.example", "-days", "1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    text = (DEPLOYMENTS / "replicas" / name).read_text()
    text = text.replace("/etc/ssl/prefect/fullchain.pem", str(certificate)).replace(
        "/etc/ssl/prefect/privkey.pem", str(key)
    )
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/nginx.pid;\n" + text)
    command = [
        "nginx",
        "-t",
        "-p",
        str(tmp_path),
        "-e",
        str(tmp_path / "error.log"),
        "-c",
        str(tmp_path / "nginx.conf"),
    ]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
