"""Bearer keys."""

from __future__ import annotations

from flask import g, request

from api.services import services
from jobs.errors import Unauthenticated


def authenticate() -> None:
    """Check the request's key and remember whose it is.

    Raises:
        Unauthenticated: there is none, or it is not valid.
    """
    header = request.headers.get("Authorization", "")
    scheme, _, key = header.partition(" ")
    if not header:
        raise Unauthenticated("no API key; send the header 'Authorization: Bearer <key>'")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("expected the header 'Authorization: Bearer <key>'")
    g.api_key = services().keys.check(key.strip())
