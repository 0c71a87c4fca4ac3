"""Which network addresses belong to the public internet: all others are somebody's inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: The only part of IPv6 that is given out to the internet so far (RFC 4291, IANA's IPv6 address space).
_GLOBAL_UNICAST = IPv6Network("2000::/3")

#: NAT64 (RFC 6052): the last 32 bits are the IPv4 address that a gateway connects to.
_NAT64 = IPv6Network("64:ff9b::/96")

#: Looks public and is not: relays of 6to4 (RFC 7526), what Azure answers its machines from, documentation (RFC 9637).
_INSIDE = (
    IPv4Network("192.88.99.0/24"),
    IPv4Network("168.63.129.16/32"),
    IPv6Network("3fff::/20"),
)


def is_public(address: Address) -> bool:
    """Whether an address, and each IPv4 address that it stands for, lies in the public internet."""
    if any(address in network for network in _INSIDE):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address.ipv4_mapped is None and address not in _NAT64:
        if address not in _GLOBAL_UNICAST or not address.is_global or address.is_multicast:
            return False
        if address.scope_id is not None:
            return False
    return all(is_public(inner) for inner in _embedded(address))


def is_reachable(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Whether a connection to an address may be opened on a stranger's behalf.

    Args:
        address: the address.
        allowed: networks that are let through although they are not public.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    # An address of the other version is in no network: the operator says False.
    return is_public(address) or any(address in network for network in allowed)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that a packet to this address may end up at."""
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
