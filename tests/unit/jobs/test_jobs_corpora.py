"""Marks of rows: the same output gives the same digest, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.corpora import DIGEST_BYTES, Corpus, RowMarks, fingerprint, name_of
from jobs.params import parse_params
from jobs.rows import Row
from tests.plugins.echo_kind import Echo

FIELDS = frozenset({"gold", "lang"})
RECIPE = fingerprint(Echo(), parse_params(Echo(), {}), None, None)

text = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
rows = st.builds(
    Row,
    st.integers(0, 100),
    text,
    st.none() | text,
    st.dictionaries(st.sampled_from(["gold", "lang", "carried", "more"]), values),
    text,
    st.integers(1, 100),
)


def marks(row: Row, recipe: str = RECIPE) -> tuple[bytes, bytes]:
    found = RowMarks(recipe, FIELDS).of(row)
    assert len(found.digest) == len(found.name) == DIGEST_BYTES
    return found.digest, found.name


def read(row: Row) -> tuple[str, str]:
    """What the kind may make use of, so that nothing that differs looks alike."""
    return row.text, repr([(name, row.fields.get(name, ...)) for name in sorted(FIELDS)])


@given(rows, rows)
def test_a_digest_is_of_what_the_kind_reads_and_of_nothing_else(one: Row, two: Row) -> None:
    assert (marks(one)[0] == marks(two)[0]) == (read(one) == read(two))
    kept = {name: one.fields[name] for name in FIELDS if name in one.fields}
    moved = Row(7, one.text, "another", {**kept, "carried": 1}, "elsewhere", 99)
    assert marks(moved)[0] == marks(one)[0]


@given(rows, rows)
def test_a_name_is_the_id_or_the_content(one: Row, two: Row) -> None:
    if one.custom_id is None and two.custom_id is None:
        assert (marks(one)[1] == marks(two)[1]) == (read(one) == read(two))
    else:
        assert (marks(one)[1] == marks(two)[1]) == (one.custom_id == two.custom_id)


def test_a_row_without_an_id_keeps_its_name_when_the_parameters_change() -> None:
    other = fingerprint(Echo(), parse_params(Echo(), {"upper": True}), None, None)
    row = Row(0, "text")
    assert marks(row)[0] != marks(row, other)[0]
    assert marks(row)[1] == marks(row, other)[1]
    assert marks(replace(row, custom_id="text"))[1] == name_of("text") != marks(row)[1]


class NewEcho(Echo):
    revision: ClassVar[int] = 2


class OtherEcho(Echo):
    name: ClassVar[str] = "other"


@pytest.mark.parametrize(
    ("kind", "params", "model", "content"),
    [
        (Echo(), {"upper": True}, None, None),
        (Echo(), {"evaluate": True}, None, None),
        (Echo(), {}, "pkg:a", None),
        (Echo(), {}, None, "sha256:1"),
        (NewEcho(), {}, None, None),
        (OtherEcho(), {}, None, None),
    ],
)
def test_whatever_outputs_follow_from_makes_another_recipe(
    kind: Echo, params: dict[str, Any], model: str | None, content: str | None
) -> None:
    assert fingerprint(kind, parse_params(kind, params), model, content) != RECIPE


def test_defaults_that_are_named_make_no_other_recipe() -> None:
    named = {"delay_ms": 0, "upper": False, "engine": "auto"}
    assert fingerprint(Echo(), parse_params(Echo(), named), None, None) == RECIPE


def test_digests_never_change() -> None:
    """Or every schedule would compute everything again after an update."""
    row = Row(3, "text", None, {"gold": {"b": 1, "a": 1.0}, "carried": 4})
    digest, name = (one.hex() for one in marks(row, "00" * 32))
    assert digest == "7d19ad5484e9f98c3abddd6141d3f812"
    assert name == "05f564419e3f56ac37d37a29656c5a9d"


def test_a_corpus_comes_back() -> None:
    corpus = Corpus(new=1, gone=2, base="job_x")
    assert Corpus.from_json(corpus.to_json()) == corpus
