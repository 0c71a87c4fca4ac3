"""Where ``textmill-server`` begins.

The API serves thousands of connections with gevent's greenlets. For that the standard library's sockets, locks and
threads are replaced by gevent's, which must come before anything else is imported that takes them for its own.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command."""
    if sys.argv[1:2] == ["api"]:
        from gevent import monkey  # noqa: PLC0415  (only here: no other role is to be changed like this)

        monkey.patch_all()
    from server.cli import main as command  # noqa: PLC0415  (not before the patch)

    command()
