"""Which server to talk to and with which key: arguments, then environment, then ``./.textmill/client.toml``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from textmill.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

URL_VARIABLE = "TEXTMILL_URL"
KEY_VARIABLE = "TEXTMILL_API_KEY"
#: Written by ``textmill-server up`` into its data folder; looked for in the current folder only.
CONFIG_FILE = Path(".textmill") / "client.toml"

_HOW_TO_CONFIGURE = (
    f"Set {URL_VARIABLE} and {KEY_VARIABLE}, or run where `textmill-server up` keeps its data "
    f"(it writes ./{CONFIG_FILE.as_posix()})."
)


@dataclass(frozen=True)
class Setting:
    """One configured value and where it was found."""

    value: str = field(repr=False)
    source: str  #: for people, such as ``argument`` or ``TEXTMILL_URL``


@dataclass(frozen=True, kw_only=True)
class Config:
    """A server and a key, ready to be used."""

    url: str  #: without a slash at the end and without ``/v1``
    api_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found before it is judged; ``doctor`` shows it."""

    url: Setting | None = None
    api_key: Setting | None = None

    def require(self) -> Config:
        """The configuration, checked.

        Raises:
            ConfigError: something is missing or malformed.
        """
        if self.url is None:
            raise ConfigError("no Textmill server is configured", hint=_HOW_TO_CONFIGURE)
        url = check_url(self.url)
        if self.api_key is None:
            raise ConfigError(f"no API key is configured for {url}", hint=_HOW_TO_CONFIGURE)
        return Config(url=url, api_key=check_key(self.api_key))


def find_config(
    url: str | None = None,
    api_key: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Found:
    """Look in the arguments, the environment and the configuration file, in this order.

    The file's key goes only to the file's own server: a URL from elsewhere never receives it.

    Args:
        environ: instead of the process's environment.
        folder: instead of the current folder.

    Raises:
        ConfigError: the configuration file cannot be read.
    """
    environ = os.environ if environ is None else environ
    found_url = _first(url, environ.get(URL_VARIABLE), URL_VARIABLE)
    found_key = _first(api_key, environ.get(KEY_VARIABLE), KEY_VARIABLE)
    if found_url is not None and found_key is not None:
        return Found(url=found_url, api_key=found_key)
    path = (folder or Path.cwd()) / CONFIG_FILE
    stored = _read(path)
    source = f"./{CONFIG_FILE.as_posix()}"
    if found_url is None and stored.get("url"):
        found_url = Setting(stored["url"], source)
    same_server = found_url is not None and _normal(found_url.value) == _normal(
        stored.get("url", "")
    )
    if found_key is None and same_server and stored.get("api_key"):
        found_key = Setting(stored["api_key"], source)
    return Found(url=found_url, api_key=found_key)


def check_url(setting: Setting) -> str:
    """The base URL without a trailing slash or ``/v1``.

    Raises:
        ConfigError: it is not an http or https URL with a host.
    """
    url = _normal(setting.value)
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url or parts.query or parts.fragment:
        raise ConfigError(
            f"not a server's URL (from {setting.source}): {setting.value!r}; "
            "expected http://host:port or https://host"
        )
    if parts.username is not None:
        raise ConfigError(
            f"the URL from {setting.source} must not hold a user name or password; "
            f"use {KEY_VARIABLE} for the API key"
        )
    return url


def check_key(setting: Setting) -> str:
    """The key without surrounding white space.

    Raises:
        ConfigError: it could not be sent in a header.
    """
    key = setting.value.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"not an API key (from {setting.source}): expected printable characters without spaces"
        )
    return key


def mask(key: str) -> str:
    """A key as it may be shown: enough to tell two apart, not enough to use."""
    return f"{key[:9]}…" if len(key) > 24 else "…"


def _first(argument: str | None, variable: str | None, name: str) -> Setting | None:
    if argument:
        return Setting(argument, "argument")
    return Setting(variable, name) if variable else None


def _normal(url: str) -> str:
    return url.strip().rstrip("/").removesuffix("/v1").rstrip("/")


def _read(path: Path) -> dict[str, str]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for name in ("url", "api_key"):
        if name in data and not isinstance(data[name], str):
            raise ConfigError(f"{path}: {name} must be a string in quotes")
    return {name: data[name] for name in ("url", "api_key") if name in data}
