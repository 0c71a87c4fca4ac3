"""Sending clients to the object store itself, for bytes of their own tenant."""

from __future__ import annotations

from flask import Response, request

from api.operations import Answer
from api.responses import redirect
from api.services import caller, services
from jobs.errors import NotFound
from jobs.names import TenantNames

#: How long a URL to download from may be used, in seconds. A download that has begun goes on.
DOWNLOAD_SECONDS = 300

REDIRECTED = Answer(
    description="With `redirect=true`: where the bytes lie.",
    headers={"Location": "A URL of the object store that needs no key; good for 5 minutes."},
)


def presigned_download(name: str, filename: str, content_type: str) -> Response:
    """A redirect to an object of the caller's tenant.

    Args:
        name: of the object.
        filename: under which a browser would save it; may stand in quotes.
        content_type: that the store shall say it has.

    Raises:
        NotFound: it lies elsewhere.
    """
    if not name.startswith(TenantNames(caller().tenant).prefix):
        raise NotFound("it lies outside of the tenant's own objects")
    query = {
        "response-content-disposition": f'attachment; filename="{filename}"',
        "response-content-type": content_type,
    }
    store, method = services().store, "HEAD" if request.method == "HEAD" else "GET"
    return redirect(store.presigned(method, name, seconds=DOWNLOAD_SECONDS, query=query))
