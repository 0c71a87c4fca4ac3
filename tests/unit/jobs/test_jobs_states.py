"""The states of a job and the changes between them."""

from __future__ import annotations

import pytest

from jobs.states import ENDED, TRANSITIONS, Status


def test_every_state_has_its_changes() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert all(following <= set(Status) for following in TRANSITIONS.values())


@pytest.mark.parametrize("status", list(Status))
def test_ended_states_are_those_that_nothing_follows(status: Status) -> None:
    assert status.ended == (not TRANSITIONS[status]) == (status in ENDED)


def test_every_state_is_reached_from_the_first_and_none_twice() -> None:
    reached, edge = {Status.VALIDATING}, {Status.VALIDATING}
    while edge:
        edge = {after for status in edge for after in TRANSITIONS[status]} - reached
        reached |= edge
    assert reached == set(Status)
    order = list(Status)
    for status, following in TRANSITIONS.items():
        assert all(order.index(after) > order.index(status) for after in following)


def test_only_a_cancel_ends_in_cancelled() -> None:
    before = {status for status, after in TRANSITIONS.items() if Status.CANCELLED in after}
    assert before == {Status.CANCELLING}
    assert Status.CANCELLING not in TRANSITIONS[Status.FINALIZING]
