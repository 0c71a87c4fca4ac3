"""A peer that needs nothing, for tests of the protocol."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench.peers.peer import Peer


class Shouter(Peer):
    """Gives texts back in capitals, and does whatever its options ask for."""

    def __init__(self, ending: str = "") -> None:
        print("loading", ending)  # as libraries do; it must not get into the answers
        self._ending = ending

    def facts(self) -> dict[str, Any]:
        return {"python": sys.version, "threads": os.environ.get("OMP_NUM_THREADS")}

    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        if options.get("die"):
            sys.stderr.write("no more memory\n")
            sys.stderr.flush()
            os._exit(9)
        time.sleep(options.get("seconds", 0))
        return [text.upper() + self._ending for text in texts[: options.get("most")]]


class Unmet(Peer):
    """Needs a package that nobody has."""

    def __init__(self) -> None:
        import no_such_package_anywhere  # type: ignore[import-not-found]  # noqa: F401, PLC0415

    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        return []
