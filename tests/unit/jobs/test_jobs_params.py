"""Kinds by name, and their parameters from the JSON of a submission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import Field

from jobs.devices import Device
from jobs.errors import InvalidRequest
from jobs.kinds import Kind, KindParams, KindRegistry, NoModel, RunContext
from jobs.params import parse_params
from jobs.rows import Outcome, Row, Success


class ShoutParams(KindParams):
    times: int = Field(default=1, ge=1, le=3)
    words: list[str] = Field(default_factory=list)


class Shout(Kind):
    """Upper case, without a model."""

    name = "shout"
    summary = "Says it louder"
    Params = ShoutParams
    needs_model = False

    def run(
        self, model: Any, state: Any, rows: Sequence[Row], params: Any, context: RunContext
    ) -> list[Outcome]:
        return [Success({"text": row.text.upper() * params.times}) for row in rows]


class Whisper(Shout):
    name = "a_whisper"


def test_kinds_are_found_by_name_and_sorted() -> None:
    kinds = KindRegistry([Shout(), Whisper()])
    assert list(kinds) == ["a_whisper", "shout"]
    assert isinstance(kinds.require("shout"), Shout)
    with pytest.raises(InvalidRequest, match="known: a_whisper, shout") as caught:
        kinds.require("sing")
    assert [(field.field, field.value) for field in caught.value.fields] == [("kind", "sing")]


def test_two_kinds_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        KindRegistry([Shout(), Shout()])


def test_a_kind_without_a_model_runs_on_defaults() -> None:
    kind, params = Shout(), parse_params(Shout(), {"times": 2})
    context = RunContext(device=Device(type="cpu", name="cpu"))
    assert kind.check(Row(0, "a"), params) is None
    assert NoModel().memory_bytes == 0
    found = kind.run(NoModel(), None, [Row(0, "a"), Row(1, "b")], params, context)
    assert found == [Success({"text": "AA"}), Success({"text": "BB"})]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"times": 0}, "params.times"),
        ({"times": "2"}, "params.times"),
        ({"times": True}, "params.times"),
        ({"times": 2.5}, "params.times"),
        ({"words": ["a", 1]}, "params.words.1"),
        ({"precision": "fast"}, "params.precision"),
        ({"engine": "abacus"}, "params.engine"),
        ({"engine": "ctranslate2"}, "params.engine"),
        ({"colour": 1}, "params.colour"),
    ],
)
def test_a_wrong_parameter_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_params(Shout(), given)
    assert [one.field for one in caught.value.fields] == [field]


@pytest.mark.parametrize(("type_", "torch_name"), [("cpu", "cpu"), ("cuda", "cuda:0")])
def test_a_pinned_worker_sees_only_its_own_device(type_: str, torch_name: str) -> None:
    assert Device(type=type_, name="x", uuid="GPU-1").torch_name == torch_name
