"""Health checks of the roles, as containers run them."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request

from jobs.errors import Unavailable
from jobs.settings import Settings
from storage.ledger import Ledger

ROLES = ("api", "worker", "control", "scheduler")


def unhealthy(role: str, settings: Settings) -> str | None:
    """Why the role that runs on this host is not healthy, or None."""
    if role == "api":
        return _api(settings)
    wanted = "model" if role == "worker" else role
    try:
        workers = Ledger.connect(settings).workers.live()
    except Unavailable as error:
        return error.detail
    host = socket.gethostname()
    here = [one for one in workers if one.get("host") == host and one.get("role") == wanted]
    if here:
        faults = [one.get("fault") for one in here]
        return str(faults[0]) if all(faults) else None
    return f"no {role} on {host} has been heard of lately"


def _api(settings: Settings) -> str | None:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    url = f"{settings.api_scheme}://{host}:{settings.port}/readyz"
    try:
        status = ask(url, 5)
    except (urllib.error.URLError, OSError) as error:
        return f"{url} does not answer: {error}"
    return None if status == 200 else f"{url} answered {status}"


def ask(url: str, seconds: float) -> int:
    """The status that this host's own API answers with. Its certificate names other hosts, so it is not checked.

    Raises:
        OSError: it does not answer.
    """
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=seconds, context=unchecked) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
