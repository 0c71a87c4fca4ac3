"""Health checks of the roles, as containers run them."""

from __future__ import annotations

import socket
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
    url = f"http://{host}:{settings.port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return None if response.status == 200 else f"{url} answered {response.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}"
    except (urllib.error.URLError, OSError) as error:
        return f"{url} does not answer: {error}"
