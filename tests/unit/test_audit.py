"""What is noted in the audit log: every route that changes something, by an operation that there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.audit import ACTIONS, QUIET
from api.operations import declared
from tests.unit.api.applications import application


def operations() -> Iterator[tuple[str, frozenset[str]]]:
    """All operations that need a key, with their methods."""
    app = application()
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
