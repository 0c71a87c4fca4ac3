"""``/schedules``: a page for people, which asks for a key and then speaks to the API as any client does."""

from __future__ import annotations

import hashlib
from importlib import resources

from flask import Blueprint, Response, request

from api.requests import no_query
from jobs.errors import NotFound

blueprint = Blueprint("pages", __name__)

_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"

#: The page's files in ``web/``, with their types.
_FILES = {
    "calls.js": _SCRIPT,
    "parts.js": _SCRIPT,
    "schedules.js": _SCRIPT,
    "schedules.css": _STYLE,
}

#: Nothing but this server's own files and calls; no script or style inside the page; text never becomes elements.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)


@blueprint.get("/schedules")
def schedules() -> Response:
    """The page. It holds nothing that would need a key."""
    no_query()
    if request.path.endswith("/"):  # its files are named beside it
        return Response(status=308, headers={"Location": "../schedules"})
    response = _file("schedules.html", "text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@blueprint.get("/schedules/<name>")
def file(name: str) -> Response:
    """One of the page's files."""
    if name not in _FILES:
        raise NotFound("no such file")
    return _file(name, _FILES[name])


def _file(name: str, content_type: str) -> Response:
    data = (resources.files("api") / "web" / name).read_bytes()
    response = Response(data, content_type=content_type)
    response.set_etag(hashlib.sha256(data).hexdigest()[:32])
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response
