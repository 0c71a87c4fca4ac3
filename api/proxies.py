"""Who called, where proxies stand before this server."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

#: Any WSGI application.
Application = Any

_FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"


class BehindProxies:
    """Takes the caller's address from ``X-Forwarded-For``, as far as those who wrote it are trusted.

    Each proxy adds at the end the address that called it. So the caller is the last one that is no trusted proxy; what
    stands before it was sent by the caller and may be anything.

    Args:
        application: the application behind it.
        trusted: addresses or networks of the proxies.
    """

    def __init__(self, application: Application, trusted: Sequence[str]) -> None:
        self._application = application
        self._trusted = [ip_network(one) for one in trusted]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        peer = _address(environ.get("REMOTE_ADDR", "")) if self._trusted else None
        if peer is not None and self._trusts(peer):
            environ["REMOTE_ADDR"] = str(self._caller(peer, environ.get(_FORWARDED_FOR, "")))
        return self._application(environ, start_response)

    def _caller(self, peer: IPv4Address | IPv6Address, chain: str) -> IPv4Address | IPv6Address:
        caller = peer
        for text in reversed(chain.split(",")):
            found = _address(text.strip())
            if found is None:
                break
            caller = found
            if not self._trusts(found):
                break
        return caller

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
