"""What has arrived of a download, kept beside its target until it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from textmill.errors import TransferFailed

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from typing_extensions import Self

_READ_BYTES = 1 << 20

#: An ETag is far shorter.
_NOTE_BYTES = 1024


@dataclass(frozen=True)
class Kept:
    """What an earlier try left."""

    bytes: int
    etag: str  #: of the version that they are of


class PartialFile:
    """``<target>.part``, which one process at a time writes, and ``<target>.part.etag``, the version that it is of."""

    def __init__(self, target: Path, descriptor: int) -> None:
        self._target = target
        self._descriptor = descriptor
        self._note = target.with_name(f"{target.name}.part.etag")
        self._noted = False
        self._done = False

    @classmethod
    def claim(cls, path: Path) -> PartialFile | None:
        """The file for what becomes ``path``; None where another process has it, or where no file can be.

        Raises:
            OSError: it cannot be written there.
        """
        if path.exists() and not path.is_file():
            return None
        target = path.resolve()  # a symbolic link keeps pointing at what it points at
        part = target.with_name(f"{target.name}.part")
        # A link that somebody put there is not followed: it could lead anywhere.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        if part.is_symlink() or (part.exists() and not part.is_file()):
            return None
        descriptor = os.open(part, flags, 0o666)
        if not _is_ours(descriptor, part):
            os.close(descriptor)
            return None
        return cls(target, descriptor)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._target.with_name(f"{self._target.name}.part")

    @property
    def kept(self) -> Kept | None:
        """What is there of an earlier try, if it is known of which version."""
        try:
            with self._note.open("rb") as note:
                etag = note.read(_NOTE_BYTES).decode("ascii").strip()
        except (OSError, ValueError):
            return None
        size = os.fstat(self._descriptor).st_size
        return Kept(size, etag) if size and etag.isprintable() and etag.startswith('"') else None

    @property
    def worth_keeping(self) -> bool:
        """Whether a later try could go on from it."""
        return self.kept is not None

    def write(self, offset: int, piece: bytes, etag: str | None) -> None:
        """Write bytes at their place; the first ones say of which version they are."""
        if not self._noted:
            self._begin(offset, etag)
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        view = memoryview(piece)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self, size: int, sha256: str | None) -> None:
        """Make it the target.

        Raises:
            TransferFailed: it is not what it should be.
        """
        os.ftruncate(self._descriptor, size)
        if sha256 is not None and self._sha256() != sha256:
            raise TransferFailed(
                f"{self._target.name} was damaged on its way: the checksums differ"
            )
        os.fsync(self._descriptor)
        self._done = True
        self.path.replace(self._target)
        with contextlib.suppress(OSError):
            self._note.unlink()

    def discard(self) -> None:
        """Keep nothing."""
        self._done = True
        for path in (self.path, self._note):
            with contextlib.suppress(OSError):
                path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._done and not self.worth_keeping:
            self.discard()
        os.close(self._descriptor)

    def _begin(self, offset: int, etag: str | None) -> None:
        self._noted = True
        if offset:
            return  # the note is there already
        os.ftruncate(self._descriptor, 0)
        with contextlib.suppress(OSError):
            self._note.unlink()
        # A weak ETag (W/"…") does not promise the same bytes.
        if etag is not None and etag.startswith('"'):
            self._note.write_text(etag + "\n", "ascii")

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while chunk := os.read(self._descriptor, _READ_BYTES):
            digest.update(chunk)
        return digest.hexdigest()


def _is_ours(descriptor: int, path: Path) -> bool:
    """Whether nobody else writes to it, and it is still the file of this name."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    try:
        now, opened = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return stat.S_ISREG(opened.st_mode) and now.st_ino == opened.st_ino
