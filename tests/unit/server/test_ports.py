from __future__ import annotations

import socket

import pytest

from server import ports
from server.ports import FIRST, LAST, LOOPBACK, free_ports, is_free


def test_ports_are_different_and_can_be_listened_on() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    assert all(FIRST <= port <= LAST for port in found)
    assert all(is_free(port) for port in found)


def test_a_port_in_use_is_not_free() -> None:
    (port,) = free_ports(1)
    with socket.create_server((LOOPBACK, port)):
        assert not is_free(port)
    assert is_free(port)


def test_a_port_in_use_on_all_addresses_is_not_free() -> None:
    (port,) = free_ports(1)
    with socket.create_server(("", port)):
        assert not is_free(port)


def test_a_port_is_free_right_after_its_server_closed_a_connection() -> None:
    (port,) = free_ports(1)
    with socket.create_server((LOOPBACK, port)) as server:
        client = socket.create_connection((LOOPBACK, port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first and keeps TIME_WAIT
        client.close()
    assert is_free(port)


def test_ports_in_use_or_to_be_avoided_are_never_given(monkeypatch: pytest.MonkeyPatch) -> None:
    used, avoided, left = free_ports(3)
    first, last = min(used, avoided, left), max(used, avoided, left)
    others = set(range(first, last + 1)) - {used, left}
    monkeypatch.setattr(ports, "FIRST", first)
    monkeypatch.setattr(ports, "LAST", last)
    with socket.create_server((LOOPBACK, used)):
        assert free_ports(1, avoid=others) == [left]
        with pytest.raises(OSError, match="expected 2 free ports"):
            free_ports(2, avoid=others)
