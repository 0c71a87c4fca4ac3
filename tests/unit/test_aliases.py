"""What a rollback goes back to, decided from an alias's moves alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storage.aliases import Move, earlier_move


def moved(*versions: str | None) -> dict[int, Move]:
    return {
        n: Move(version=v, reason="set", token=str(n), number=n) for n, v in enumerate(versions)
    }


def roll_back(moves: dict[int, Move], gone: frozenset[str] = frozenset()) -> str | None:
    """One rollback, entered as the next move; the version that it went back to."""
    found = earlier_move(moves, lambda version: version not in gone)
    if found is None:
        return None
    number = max(moves) + 1
    moves[number] = Move(
        version=found.version,
        reason="rollback",
        token=str(number),
        restores=found.number,
        number=number,
    )
    return found.version


def test_a_rollback_goes_back_and_the_next_one_further() -> None:
    moves = moved("a", "b", "c")
    assert [roll_back(moves) for _ in range(3)] == ["b", "a", None]


def test_a_move_after_a_rollback_begins_from_there() -> None:
    moves = moved("a", "b", "c")
    assert roll_back(moves) == "b"
    moves[4] = Move(version="d", reason="set", token="4", number=4)
    assert [roll_back(moves) for _ in range(3)] == ["b", "a", None]


def test_the_same_version_set_twice_is_one_step() -> None:
    assert roll_back(moved("a", "b", "b")) == "a"


def test_versions_that_were_deleted_are_passed_over() -> None:
    assert roll_back(moved("a", "b", "c"), frozenset("b")) == "a"
    assert roll_back(moved("a", "b"), frozenset("a")) is None


def test_a_deletion_is_nothing_to_go_back_to() -> None:
    assert roll_back(moved("a", None, "c")) == "a"


@given(st.lists(st.sampled_from(["a", "b", "c", "rollback"]), max_size=30))
def test_rollbacks_are_those_of_a_stack(acts: list[str]) -> None:
    moves = moved("first")
    stack = ["first"]
    for act in acts:
        if act == "rollback":
            while len(stack) > 1 and stack[-1] == stack[-2]:
                stack.pop()
            expected = stack[-2] if len(stack) > 1 else None
            assert roll_back(moves) == expected
            if expected is not None:
                stack.pop()
        else:
            number = max(moves) + 1
            moves[number] = Move(version=act, reason="set", token=str(number), number=number)
            stack.append(act)
