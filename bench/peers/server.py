"""Peers behind a pipe: JSON lines in on standard input, JSON lines out on standard output.

    python -m bench.peers.server [THREADS]

========================================================================  ====================================
request                                                                   answer
========================================================================  ====================================
``{"do": "load", "name": N, "peer": P, "options": {...}}``                ``{"facts": {...}}``
``{"do": "run", "name": N, "texts": [...], "options": {...}}``            ``{"seconds": s, "outputs": [...]}``
``{"do": "forget", "name": N}``                                           ``{}``
========================================================================  ====================================

``P`` is one of :data:`bench.peers.peer.PEERS` or ``module:class``; ``N`` is how the caller calls it from then on.
A request that failed is answered ``{"error": text, "missing": bool}``; ``missing`` says that a package is not
installed. Ends with its input.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from bench.peers.peer import PEERS, Peer


class PeerServer:
    """Loaded peers by name."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what is asked; a failure is an answer too."""
        try:
            return self._answer(request)
        except ImportError as error:
            return {"error": f"{error}", "missing": True}
        except Exception as error:  # noqa: BLE001  (whatever a peer raises is the caller's to judge)
            return {"error": f"{type(error).__name__}: {error}", "missing": False}

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        name, options = request["name"], request.get("options", {})
        match request["do"]:
            case "load":
                peer = _find(request["peer"])(**options)
                self._peers[name] = peer
                return {"facts": peer.facts()}
            case "run":
                peer = self._peers[name]
                begun = time.perf_counter()
                outputs = peer.run(request["texts"], **options)
                return {"seconds": time.perf_counter() - begun, "outputs": outputs}
            case "forget":
                del self._peers[name]
                gc.collect()
                return {}
            case other:
                raise ValueError(f"expected load, run or forget, got {other!r}")


def _find(name: str) -> type[Peer]:
    module, _, attribute = PEERS.get(name, name).partition(":")
    found: type[Peer] = getattr(import_module(module), attribute)
    return found


def main() -> None:
    """Answer until the input ends."""
    if len(sys.argv) > 1:
        os.environ["OMP_NUM_THREADS"] = sys.argv[1]  # read when torch and others are imported
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Libraries print to standard output as they like; that goes to standard error, past the protocol.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        server = PeerServer()
        for line in sys.stdin.buffer:
            out.write(json.dumps(server.answer(json.loads(line))).encode() + b"\n")
            out.flush()


if __name__ == "__main__":
    main()
