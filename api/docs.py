"""``/openapi.json``, and ``/docs``: the same for people, from files that come with the server."""

from __future__ import annotations

import hashlib
from importlib import resources
from importlib.metadata import version
from typing import cast

import orjson
from flask import Blueprint, Response, current_app, request

from api.openapi import document
from api.requests import no_query
from api.services import services
from jobs.errors import NotFound

blueprint = Blueprint("docs", __name__)

#: Where the finished document is kept among the application's extensions.
_DOCUMENT = "textmill.openapi"

#: Swagger UI's files in the package that ships them, with their types.
_FILES = {
    "swagger_bundle.js": "text/javascript; charset=utf-8",
    "swagger_preset.js": "text/javascript; charset=utf-8",
    "swagger_style.css": "text/css; charset=utf-8",
}

#: Nothing but this server's own files; Swagger UI sets styles and draws its icons from data.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Textmill API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger_style.css">
</head>
<body>
<div id="api"><noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.
</noscript></div>
<script src="docs/swagger_bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

_START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: false,
  validatorUrl: null,
});
"""


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The document."""
    no_query()
    return _cached(_document(), "application/json")


@blueprint.get("/docs")
def page() -> Response:
    """The page."""
    no_query()
    response = Response(_PAGE, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@blueprint.get("/docs/<name>")
def file(name: str) -> Response:
    """One of the page's files."""
    if name == "start.js":
        return _cached(_START.encode(), _FILES["swagger_bundle.js"])
    if name not in _FILES:
        raise NotFound("no such file")
    # Not kept: megabytes that hardly anybody asks for.
    return _cached((resources.files("offapi") / name).read_bytes(), _FILES[name])


def _cached(data: bytes, content_type: str) -> Response:
    response = Response(data, content_type=content_type)
    response.set_etag(hashlib.sha256(data).hexdigest()[:32])
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


def _document() -> bytes:
    """Made once for each application: its routes and kinds do not change."""
    made = current_app.extensions.get(_DOCUMENT)
    if made is None:
        made = orjson.dumps(document(current_app, services().kinds, version("textmill-server")))
        current_app.extensions[_DOCUMENT] = made
    return cast(bytes, made)
