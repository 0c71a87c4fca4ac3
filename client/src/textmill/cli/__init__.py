"""The ``textmill`` command."""

from textmill.cli.app import main

__all__ = ["main"]
