"""``python -m server`` is ``textmill-server``."""

from server.main import main

main()
