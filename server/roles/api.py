"""The API role: the Flask application under gunicorn, with gevent's greenlets.

The process must have been patched before anything else was imported; see :mod:`server.main`.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from typing import Any

from flask import Flask
from gevent import monkey
from gunicorn.app.base import BaseApplication

from api.app import create_app
from api.metrics import MULTIPROCESS_DIR, forget_process
from api.services import Services
from jobs.settings import Settings
from server.connect import Connections
from server.discovery import discover
from server.logs import configure_logs
from server.serving import HEAD_SECONDS, ApiWorker

#: Seconds that requests which run when the role is stopped have to end.
_GRACE_SECONDS = 5

#: File descriptors of a process beside its connections.
_FILES = 500


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


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """gunicorn's settings, by their names."""
    options: dict[str, Any] = {
        "bind": f"{settings.host}:{settings.port}",
        "workers": settings.api_processes,
        "worker_class": ApiWorker,
        "worker_connections": settings.api_connections,
        "timeout": 120,
        "graceful_timeout": _GRACE_SECONDS,
        "keepalive": HEAD_SECONDS,
        "limit_request_line": 8190,
        "limit_request_fields": 100,
        "limit_request_field_size": 8190,
        "forwarded_allow_ips": ",".join(settings.trusted_proxies),
        "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"},
        # No proxy may say under which path it serves us: its clients could say so through it.
        "forwarder_headers": "",
        "http_protocols": "h1",
        "proc_name": "textmill-api",
        "control_socket_disable": True,
        "accesslog": None,
        "errorlog": "-",
        "loglevel": "warning",
        "child_exit": lambda _arbiter, worker: forget_process(worker.pid),
    }
    if settings.tls_certfile is not None:
        options["certfile"] = str(settings.tls_certfile)
        options["keyfile"] = str(settings.tls_keyfile)
    return options


class Gunicorn(BaseApplication):
    """gunicorn, configured from our settings rather than from a file or its command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in gunicorn_options(self._settings).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        configure_logs(self._settings)
        return build_app(self._settings)


def run(settings: Settings) -> None:
    """Serve until a signal stops it."""
    if not monkey.is_module_patched("socket"):
        raise RuntimeError(
            "the API must be started as 'textmill-server api' or 'python -m server api'"
        )
    allow_files(settings.api_connections + _FILES)
    folder = tempfile.mkdtemp(prefix="textmill-metrics-")
    os.environ[MULTIPROCESS_DIR] = folder
    parent = os.getpid()
    try:
        Gunicorn(settings).run()
    finally:
        # The processes that serve come by here too.
        if os.getpid() == parent:
            shutil.rmtree(folder, ignore_errors=True)


def allow_files(wanted: int) -> None:
    """Raise this process's limit of open files to so many, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
