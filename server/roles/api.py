"""The API role: the Flask application under gunicorn."""

from __future__ import annotations

from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from api.app import create_app
from api.services import Services
from jobs.settings import Settings
from server.connect import Connections
from server.discovery import discover
from server.logs import configure_logs


def build_app(settings: Settings) -> Flask:
    """The application with connections of its own. Waits until bucket and ledger are set up."""
    connections = Connections.open(settings)
    installation = connections.await_installation()
    connections.ledger.accounts.publish_defaults()
    services = Services(
        settings=settings,
        store=connections.store,
        ledger=connections.ledger,
        broker=connections.broker,
        kinds=discover(),
        installation=installation,
    )
    return create_app(services)


class _Gunicorn(BaseApplication):
    """gunicorn, configured from our settings rather than from a file or its command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        options: dict[str, Any] = {
            "bind": f"{settings.host}:{settings.port}",
            "workers": settings.api_processes,
            "worker_class": "gthread",
            "threads": settings.api_threads,
            "timeout": 120,
            "graceful_timeout": 5,
            "keepalive": 15,
            "limit_request_line": 8190,
            "limit_request_field_size": 8190,
            "proc_name": "textmill-api",
            "control_socket_disable": True,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        configure_logs(self._settings)
        return build_app(self._settings)


def run(settings: Settings) -> None:
    """Serve until a signal stops it."""
    _Gunicorn(settings).run()
