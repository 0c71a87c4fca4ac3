"""Keeps the import of this package quick.

``import httpx`` imports httpx's own command line too, and with it rich and pygments, wherever these are installed, as
they are with this client: a quarter of the time, for nothing that a library uses. httpx does without where they are
absent, which is what it is told here; whoever has imported httpx before keeps all of it.
"""

from __future__ import annotations

import sys
from importlib import import_module

_COMMAND_LINE = "httpx._main"


def load_httpx() -> None:
    """Import httpx without its command line, unless it has been imported already."""
    if "httpx" in sys.modules:
        return
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]  # how Python says that there is no such module
    try:
        import_module("httpx")
    finally:
        sys.modules.pop(_COMMAND_LINE, None)


load_httpx()
