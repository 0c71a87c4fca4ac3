"""The asynchronous client: what :mod:`textmill` does, awaited. See :class:`AsyncTextmill`."""

from textmill.aio.client import AsyncTextmill
from textmill.aio.job import AsyncJob

__all__ = ["AsyncJob", "AsyncTextmill"]
