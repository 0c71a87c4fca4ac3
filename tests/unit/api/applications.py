"""The API's application without servers behind it: for what is decided before any is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from flask import Flask

from api.app import create_app
from api.services import Services
from jobs.settings import Settings
from server.discovery import discover


def application(**settings: Any) -> Flask:
    """The application with these settings, the built-in kinds, and no connections."""
    services = SimpleNamespace(settings=Settings(**settings), kinds=discover())
    return create_app(cast(Services, services))
