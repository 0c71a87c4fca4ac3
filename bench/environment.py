"""The environment that the peers are installed in: ``.venv-peers``, made when a benchmark first needs it."""

from __future__ import annotations

import hashlib
import subprocess
import venv
from pathlib import Path

from rich.console import Console

from bench.peering import ROOT

_FOLDER = ROOT / ".venv-peers"
_REQUIREMENTS = ROOT / "bench" / "peers" / "requirements.txt"
_CONSTRAINTS = ROOT / "bench" / "peers" / "constraints.txt"


def peers_python(console: Console, folder: Path = _FOLDER) -> Path:
    """The interpreter that sees the peers; makes or updates their environment where that is due.

    A package that does not install is said and left out; what needs it is then skipped as missing.
    """
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes() + _CONSTRAINTS.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text("utf-8") == wanted:
        return python
    console.print(f"Installing the peers into {folder} (a few minutes the first time)")
    if not python.exists():
        venv.create(folder, with_pip=True)
    packages = required(_REQUIREMENTS.read_text("utf-8"))
    with (folder / "install.log").open("ab") as log:
        if not _install(python, packages, log.fileno()):
            # One that cannot be had must not keep the others out.
            for package in packages:
                if not _install(python, [package], log.fileno()):
                    console.print(f"[yellow]{package} does not install: see {log.name}[/]")
    stamp.write_text(wanted, "utf-8")
    return python


def required(text: str) -> list[str]:
    """The packages that a requirements file names."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _install(python: Path, packages: list[str], log: int) -> bool:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    command += ["--progress-bar", "off", "--constraint", str(_CONSTRAINTS), *packages]
    return subprocess.run(command, stdout=log, stderr=log, check=False).returncode == 0
