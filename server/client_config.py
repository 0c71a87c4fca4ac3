"""``client.toml``: where the ``textmill`` command finds a stack on this machine, and its key."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from server.packaged import write_private


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """What a client needs."""

    url: str
    api_key: str

    @classmethod
    def load(cls, path: Path) -> ClientConfig | None:
        """What the file holds, or None where there is none that can be used."""
        try:
            data = tomllib.loads(path.read_text("utf-8"))
            return cls(url=str(data["url"]), api_key=str(data["api_key"]))
        except (FileNotFoundError, KeyError, tomllib.TOMLDecodeError, UnicodeDecodeError):
            return None

    def save(self, path: Path) -> None:
        """Write it, readable only by its owner."""
        write_private(path, f'url = "{self.url}"\napi_key = "{self.api_key}"\n')
