"""Bearer keys."""

from __future__ import annotations

from flask import g, request

from api.services import services
from jobs.errors import Unauthenticated
from jobs.ids import is_id


def authenticate() -> None:
    """Check the request's key and remember whose it is.

    Raises:
        Unauthenticated: there is none, or it is not valid.
        Forbidden: its tenant is disabled.
        RateLimited: the tenant makes more calls than it may.
    """
    header = request.headers.get("Authorization", "")
    scheme, _, key = header.partition(" ")
    if not header:
        raise Unauthenticated("no API key; send the header 'Authorization: Bearer <key>'")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("expected the header 'Authorization: Bearer <key>'")
    at = services()
    # The job that a call shows is read in the same round trip: polls are most of what comes.
    job_id = (
        str((request.view_args or {}).get("job_id", ""))
        if request.method in ("GET", "HEAD")
        else ""
    )
    write = request.method not in ("GET", "HEAD", "OPTIONS")
    g.admitted = at.keys.admit(
        key.strip(), write=write, job_id=job_id if is_id(job_id, "job") else ""
    )
    at.requests.count(g.admitted.key.tenant)
