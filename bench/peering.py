"""Our end of the pipe to the peers, which run in a process and an environment of their own."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, Any

import orjson

ROOT = Path(__file__).parents[1]

#: Most seconds that one request may take; a peer that hangs ends its benchmark and no other.
_PATIENCE_SECONDS = 900.0


class PeerFailed(Exception):
    """A peer could not do what it was asked."""


class PeerMissing(PeerFailed):
    """A package that the peer needs is not installed here."""


@dataclass(frozen=True)
class PeerRun:
    """One timed run."""

    seconds: float  #: measured in the peer's process, around its work alone
    outputs: list[Any]  #: one for each text


class Peers:
    """Peers in one process, by the names that :meth:`load` gave them. Safe for one thread only."""

    def __init__(self, process: Popen[bytes], log: IO[bytes], patience: float) -> None:
        self._process = process
        self._log = log
        self._patience = patience

    def load(self, name: str, peer: str, **options: Any) -> dict[str, Any]:
        """Make a peer ready under a name; facts about it.

        Args:
            peer: one of :data:`bench.peers.peer.PEERS`, or ``module:class``.
            options: of its constructor.

        Raises:
            PeerMissing: it is not installed here.
            PeerFailed: it did not load.
        """
        facts: dict[str, Any] = self._ask(do="load", name=name, peer=peer, options=options)["facts"]
        return facts

    def run(self, name: str, texts: Sequence[str], **options: Any) -> PeerRun:
        """Run a peer over texts, and time it.

        Raises:
            PeerFailed: it raised, or gave another number of outputs.
        """
        answer = self._ask(do="run", name=name, texts=list(texts), options=options)
        if len(answer["outputs"]) != len(texts):
            raise PeerFailed(f"{name}: {len(answer['outputs'])} outputs for {len(texts)} texts")
        return PeerRun(answer["seconds"], answer["outputs"])

    def forget(self, name: str) -> None:
        """Free what a peer holds."""
        self._ask(do="forget", name=name)

    def _ask(self, **request: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise PeerFailed("the peers' process has no pipes")
        # A process that is killed ends its answer, and so the reading of it.
        timer = threading.Timer(self._patience, self._process.kill)
        timer.start()
        try:
            stdin.write(orjson.dumps(request) + b"\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            timer.cancel()
        if not line:
            raise PeerFailed(f"{request['name']}: the peers' process ended: {self._last_words()}")
        answer: dict[str, Any] = orjson.loads(line)
        if "error" in answer:
            kind = PeerMissing if answer["missing"] else PeerFailed
            raise kind(f"{request['name']}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._log.seek(0)
        return " | ".join(self._log.read().decode(errors="replace").splitlines()[-5:])


@contextmanager
def peers(
    python: str | Path = sys.executable,
    *,
    threads: int | None = None,
    patience: float = _PATIENCE_SECONDS,
) -> Iterator[Peers]:
    """A process for peers, gone afterwards.

    Args:
        python: the interpreter of their environment (:func:`bench.environment.peers_python`).
        threads: that libraries compute with; by default as many as they choose.
        patience: seconds that one request may take.
    """
    command = [str(python), "-m", "bench.peers.server", *([str(threads)] if threads else [])]
    with (
        tempfile.TemporaryFile() as log,
        Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=log) as process,
    ):
        try:
            yield Peers(process, log, patience)
        finally:
            process.kill()
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # what a dead process has not read
                    process.stdin.close()
