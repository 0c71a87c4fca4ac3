"""What is noted in the audit log: every route that changes something, by an operation that there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.app import create_app
from api.audit import ACTIONS, QUIET
from api.operations import declared
from api.services import Services
from jobs.kinds import KindRegistry
from jobs.settings import Settings
from server.connect import Connections
from storage.installation import Installation


def operations() -> Iterator[tuple[str, frozenset[str]]]:
    """All operations that need a key, with their methods."""
    connections = Connections.open(Settings.from_environment({}))
    app = create_app(
        Services(
            settings=connections.settings,
            store=connections.store,
            ledger=connections.ledger,
            broker=connections.broker,
            kinds=KindRegistry([]),
            installation=Installation(b""),
        )
    )
    for rule in app.url_map.iter_rules():
        found = declared(app.view_functions[rule.endpoint])
        if found is not None and found.scope is not None:
            yield found.name, frozenset(rule.methods or ())


OPERATIONS = dict(operations())
CHANGES = sorted(
    name for name, methods in OPERATIONS.items() if methods & {"POST", "PUT", "PATCH", "DELETE"}
)


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_noted(name: str) -> None:
    assert (name in ACTIONS) != (name in QUIET)


def test_nothing_is_noted_that_is_not_there() -> None:
    assert set(ACTIONS) | QUIET <= set(CHANGES)
    assert len(set(ACTIONS.values())) == len(ACTIONS)
