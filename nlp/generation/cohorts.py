"""Which prompts are written together, and in how many slots: a pure plan over lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cohort:
    """Prompts that share one cache."""

    positions: list[int]  #: longest first, so that memory runs out at once or never
    slots: int
    capacity: int  #: tokens of a slot


def plan_cohorts(
    positions: Iterable[int], lengths: Sequence[int], *, max_slots: int, max_tokens: int
) -> list[Cohort]:
    """Prompts as groups; in each the slots, each as long as the longest prompt needs, hold ``max_tokens`` at most.

    Short prompts wait for a group of their own only where they would get too few slots beside long ones.

    Args:
        lengths: tokens that prompt and answer can take, for every position there is.
    """
    order = sorted(positions, key=lambda position: (-lengths[position], position))
    cohorts: list[Cohort] = []
    while order:
        capacity = max(1, lengths[order[0]])
        fitting = max(1, min(max_slots, max_tokens // capacity))
        if fitting >= min(max_slots, len(order)):
            count = len(order)
        else:
            count = sum(2 * lengths[position] > capacity for position in order)
        cohorts.append(Cohort(order[:count], min(fitting, count), capacity))
        order = order[count:]
    return cohorts


def common_start(sequences: Sequence[list[int]]) -> int:
    """How many tokens all sequences begin with, short of the end of any."""
    first, last = min(sequences), max(sequences)  # in the order of words, all others lie between
    shortest = min(len(sequence) for sequence in sequences)
    for place in range(shortest - 1):
        if first[place] != last[place]:
            return place
    return shortest - 1
