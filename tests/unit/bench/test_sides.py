"""Sides that take turns, and the texts that translators are measured with."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.sides import Side, Turn, median_speed, take_turns
from bench.translate import sentences
from nlp.translation.placeholders import spans


def test_sides_take_turns() -> None:
    order: list[str] = []

    def run(name: str, texts: Sequence[str]) -> Turn:
        order.append(name)
        return Turn(0.5, [f"{name} {text}" for text in texts])

    said: list[str] = []
    sides = {
        "one": Side(lambda texts: run("one", texts), ["a", "b"]),
        "two": Side(lambda texts: run("two", texts), ["a"]),
    }
    turns = take_turns(sides, 2, said.append)
    assert order == ["one", "two"] * 2
    assert [turn.outputs for turn in turns["one"]] == [["one a", "one b"]] * 2
    assert {name: median_speed(found) for name, found in turns.items()} == {"one": 4, "two": 2}
    assert said == [f"{number}, texts a second: one 4.00, two 2.00" for number in (1, 2)]


def test_one_slow_round_does_not_count() -> None:
    assert median_speed([Turn(1, ["a"]), Turn(50, ["a"]), Turn(2, ["a"])]) == 0.5


def test_sentences_are_single_and_distinct() -> None:
    found = sentences(200)
    assert len(set(found)) == 200
    assert sentences(10) == found[:10]
    for sentence in found:
        assert re.fullmatch(r"\S.*\.", sentence), sentence
        assert not spans(sentence)
