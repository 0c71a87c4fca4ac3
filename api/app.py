"""The Flask application."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Any

import structlog
from flask import Blueprint, Flask, Response, g, request

from api import (
    audit,
    docs,
    events,
    files,
    jobs,
    keys,
    metrics,
    models,
    pages,
    problems,
    results,
    schedules,
    system,
    uploads,
    usage,
    webhooks,
)
from api.auth import authenticate
from api.proxies import BehindProxies
from api.services import Services
from jobs.ids import new_token

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def create_app(services: Services) -> Flask:
    """The API over these services. Opens no connection by itself."""
    app = _Application("textmill", static_folder=None)
    app.extensions["textmill"] = services
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # else //v1/jobs would be answered by a redirect
    problems.register(app)
    metrics.register(app)
    app.before_request(_RequestIds().begin)
    app.after_request(_end)

    v1 = Blueprint("v1", __name__, url_prefix="/v1")
    v1.before_request(authenticate)
    v1.after_request(audit.note)
    parts = (
        jobs,
        events,
        results,
        webhooks,
        schedules,
        files,
        uploads,
        models,
        keys,
        usage,
        audit,
        system,
    )
    for part in parts:
        v1.register_blueprint(part.blueprint)
    app.register_blueprint(v1)
    app.register_blueprint(system.health)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(docs.blueprint)
    app.register_blueprint(pages.blueprint)
    app.wsgi_app = BehindProxies(app.wsgi_app, services.settings.trusted_proxies)  # type: ignore[method-assign]
    return app


class _Application(Flask):
    """Flask for views that are plain functions, as all of ours are."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        # Flask looks at each of a call's eight functions whether it is a coroutine.
        return func


class _RequestIds:
    """Gives each call its id: the caller's, or one of our own.

    Ours are unique, not secret: random bytes for each call would cost a call of the system.
    """

    def __init__(self) -> None:
        self._process = new_token()[:16]
        self._numbers = count(1)

    def begin(self) -> None:
        given = request.headers.get("X-Request-Id", "")
        ours = not _REQUEST_ID.fullmatch(given)
        g.request_id = f"{self._process}-{next(self._numbers)}" if ours else given
        # For every line that is logged until this thread serves another request: a streamed answer's are among them.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    headers = response.headers
    # No view sets the first two.
    headers.add("X-Request-Id", g.request_id)
    headers.add("X-Content-Type-Options", "nosniff")
    if "Cache-Control" not in headers:
        headers.add("Cache-Control", "no-store")
    return response
