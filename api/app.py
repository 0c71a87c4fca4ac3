"""The Flask application."""

from __future__ import annotations

import re

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
    problems,
    results,
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
    app = Flask("textmill", static_folder=None)
    app.extensions["textmill"] = services
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # else //v1/jobs would be answered by a redirect
    problems.register(app)
    metrics.register(app)
    app.before_request(_begin)
    app.after_request(_end)

    v1 = Blueprint("v1", __name__, url_prefix="/v1")
    v1.before_request(authenticate)
    v1.after_request(audit.note)
    parts = (jobs, events, results, webhooks, files, uploads, models, keys, usage, audit, system)
    for part in parts:
        v1.register_blueprint(part.blueprint)
    app.register_blueprint(v1)
    app.register_blueprint(system.health)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(docs.blueprint)
    app.wsgi_app = BehindProxies(app.wsgi_app, services.settings.trusted_proxies)  # type: ignore[method-assign]
    return app


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else new_token()
    # For every line that is logged until this thread serves another request: a streamed answer's are among them.
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    return response
