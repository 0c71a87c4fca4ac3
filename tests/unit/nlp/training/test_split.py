"""Near-duplicates never straddle parts, and the parts depend on what rows say alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nlp.training.likeness import Likeness
from nlp.training.split import PARTS, Shares, Split, split

WORDS = (Path(__file__).parents[4] / "LICENSE").read_text("utf-8").split()


def text_of(number: int, words: int = 40) -> str:
    """Some words of the licence, another choice for each number."""
    random = np.random.Generator(np.random.PCG64(number))
    return " ".join(WORDS[place] for place in random.integers(0, len(WORDS), words))


def groups_of(texts: Sequence[str], folder: Path) -> list[int]:
    likeness = Likeness(len(texts), folder)
    for text in texts:
        likeness.add(text)
    return [int(number) for number in likeness.groups()]


def parts_of(
    texts: Sequence[str],
    folder: Path,
    shares: Shares,
    files: Sequence[int] | None = None,
    seed: int = 0,
) -> Split:
    likeness = Likeness(len(texts), folder)
    for text in texts:
        likeness.add(text)
    given = np.array(files if files is not None else [0] * len(texts))
    return split(likeness.groups(), likeness.exact, given, shares, seed)


def test_case_punctuation_and_white_space_make_no_difference(tmp_path: Path) -> None:
    texts = ["Hello, world!", "hello  world", "Hello world 2", "HELLO\nWORLD.", "!!!", "???"]
    assert groups_of(texts, tmp_path) == [0, 0, 2, 0, 4, 5]


def test_texts_that_share_most_of_their_wording_are_alike(tmp_path: Path) -> None:
    texts = [text_of(number, 100) for number in range(40)]
    changed = [f"{text.rsplit(' ', 1)[0]} otherwise" for text in texts]
    groups = groups_of([*texts, *changed], tmp_path)
    assert groups[:40] == list(range(40))
    assert groups[40:] == list(range(40))


def test_short_texts_that_differ_in_a_number_are_not_alike(tmp_path: Path) -> None:
    texts = [f"{day} May {year}" for day in range(1, 29) for year in range(2000, 2010)]
    assert groups_of(texts, tmp_path) == list(range(len(texts)))


def test_scripts_without_spaces_are_compared_by_character(tmp_path: Path) -> None:
    text = (
        "自然言語処理は人間が日常的に使っている自然言語をコンピュータに処理させる一連の技術であり"
        * 2
    )
    assert groups_of([text, f"{text}す", "別の文" * 10], tmp_path) == [0, 0, 2]


def test_groups_stay_together(tmp_path: Path) -> None:
    texts = [text_of(number // 3) for number in range(600)]
    found = parts_of(texts, tmp_path, Shares(validation=0.1, test=0.1))
    homes = {name: {int(place) // 3 for place in places} for name, places in found.parts.items()}
    assert sum(map(len, homes.values())) == 200
    assert sum(len(places) for places in found.parts.values()) == 600
    for name in ("validation", "test"):
        assert 30 <= len(found.parts[name]) <= 90


def test_a_row_keeps_its_part_when_rows_join_and_move(tmp_path: Path) -> None:
    texts = [text_of(number) for number in range(2000)]
    shares = Shares(validation=0.1, test=0.1)
    before = parts_of(texts[:1000], tmp_path, shares)
    after = parts_of(list(reversed(texts)), tmp_path, shares)
    for name in PARTS:
        again = {1999 - int(place) for place in after.parts[name]}
        assert {int(place) for place in before.parts[name]} == {n for n in again if n < 1000}


def test_another_seed_makes_another_choice(tmp_path: Path) -> None:
    texts = [text_of(number) for number in range(500)]
    shares = Shares(validation=0.1, test=0.1)
    one, other = (parts_of(texts, tmp_path, shares, seed=seed) for seed in (0, 1))
    assert set(one.parts["test"].tolist()) != set(other.parts["test"].tolist())


def test_few_rows_still_fill_each_part(tmp_path: Path) -> None:
    for count in (5, 10, 30):
        texts = [text_of(number) for number in range(count)]
        found = parts_of(texts, tmp_path, Shares(validation=0.1, test=0.1))
        for name in ("validation", "test"):
            assert max(1, count // 20) <= len(found.parts[name]) <= max(1, 1.5 * count / 10)


def test_a_group_too_large_for_a_part_is_trained_on(tmp_path: Path) -> None:
    texts = [text_of(0)] * 50 + [text_of(number) for number in range(1, 51)]
    for seed in range(10):
        found = parts_of(texts, tmp_path, Shares(validation=0.1, test=0.1), seed=seed)
        assert set(range(50)) <= set(found.parts["training"].tolist())
        assert len(found.parts["test"]) >= 5


def test_no_group_is_most_of_what_is_measured(tmp_path: Path) -> None:
    texts = [text_of(0)] * 20 + [text_of(number) for number in range(1, 481)]
    for seed in range(20):
        found = parts_of(texts, tmp_path, Shares(validation=0.1, test=0.1), seed=seed)
        assert set(range(20)) <= set(found.parts["training"].tolist())
        for name in ("validation", "test"):
            assert 25 <= len(found.parts[name]) <= 75


@pytest.mark.parametrize("most", [7, 20])
def test_parts_are_bounded(tmp_path: Path, most: int) -> None:
    texts = [text_of(number) for number in range(500)]
    found = parts_of(texts, tmp_path, Shares(validation=0.2, test=0.2, most=(most, most)))
    assert len(found.parts["test"]) == most
    assert len(found.parts["validation"]) == most
    assert len(found.parts["training"]) == 500 - 2 * most


def test_rows_like_those_of_a_test_file_are_not_trained_on(tmp_path: Path) -> None:
    texts = [*(text_of(number) for number in range(20)), text_of(3).upper(), text_of(100)]
    found = parts_of(texts, tmp_path, Shares(validation=0.0, test=0.0), files=[0] * 20 + [2, 2])
    assert found.parts["test"].tolist() == [20, 21]
    assert found.left_out == 1
    assert found.parts["training"].tolist() == [number for number in range(20) if number != 3]
