"""Which prompts share a cache."""

from __future__ import annotations

import pytest

from nlp.generation.cohorts import Cohort, common_start, plan_cohorts


def test_all_together_where_they_fit() -> None:
    planned = plan_cohorts([3, 0, 2], [10, 99, 30, 20], max_slots=2, max_tokens=60)
    assert planned == [Cohort([2, 3, 0], slots=2, capacity=30)]


def test_short_prompts_do_not_share_the_room_of_long_ones() -> None:
    lengths = [1000, 10, 20, 600, 400, 15]
    planned = plan_cohorts(range(6), lengths, max_slots=4, max_tokens=1600)
    assert planned == [
        Cohort([0, 3], slots=1, capacity=1000),
        Cohort([4, 2, 5, 1], slots=4, capacity=400),
    ]


def test_a_prompt_longer_than_all_memory_is_tried_alone() -> None:
    planned = plan_cohorts([0], [500], max_slots=8, max_tokens=100)
    assert planned == [Cohort([0], slots=1, capacity=500)]


def test_no_prompts_no_cohorts() -> None:
    assert plan_cohorts([], [], max_slots=8, max_tokens=100) == []


@pytest.mark.parametrize(
    ("sequences", "length"),
    [
        ([[1, 2, 3, 4], [1, 2, 9], [1, 2, 3, 5]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2, 3], [1, 2]], 1),
        ([[1], [1]], 0),
        ([[5, 6], [7, 6]], 0),
    ],
)
def test_the_common_beginning_leaves_a_token_to_read(
    sequences: list[list[int]], length: int
) -> None:
    assert common_start(sequences) == length
