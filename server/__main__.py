"""``python -m server`` is ``textmill-server``."""

from server.cli import main

main()
