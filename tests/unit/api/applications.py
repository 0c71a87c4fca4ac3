"""The API's application without servers behind it: for what is decided before any is asked."""

from __future__ import annotations

from typing import Any

from flask import Flask

from api.app import create_app
from api.services import Services
from jobs.settings import Settings
from server.connect import Connections
from server.discovery import discover
from storage.installation import Installation


def application(**settings: Any) -> Flask:
    """The application with these settings and the built-in kinds. Its connections lead nowhere."""
    connections = Connections.open(Settings(**settings))
    return create_app(
        Services(
            settings=connections.settings,
            store=connections.store,
            ledger=connections.ledger,
            broker=connections.broker,
            kinds=discover(),
            installation=Installation(b""),
        )
    )
