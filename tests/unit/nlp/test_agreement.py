"""Whether two ways of computing agree, and what an encoder does when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import REFERENCE, LoadOptions, RunContext
from nlp.encoder import EncoderModel
from nlp.encoders.agreement import EXACT as TO_1E4
from nlp.encoders.agreement import (
    ROUNDED,
    embeddings_disagree,
    sample,
    scores_disagree,
)
from nlp.encoders.ways import PackedWay
from nlp.kinds.classify import Classify, ClassifyParams
from tests.unit.nlp.tinyencoders import save_encoder
from tests.unit.nlp.tinymodels import CPU, EXACT, TEXTS, rows_of

LABELS = ["delivery", "payment", "login problem", "praise"]


@given(st.lists(st.integers(1, 600), max_size=80))
def test_a_sample_is_small_and_spread(lengths: list[int]) -> None:
    chosen = sample(lengths)
    assert len(set(chosen)) == len(chosen) <= 6
    assert bool(chosen) == bool(lengths)
    if chosen:
        assert lengths[chosen[0]] == min(lengths)
        assert sum(lengths[place] for place in chosen) <= max(1024, lengths[chosen[0]])
        if sum(lengths) <= 1024:
            assert max(lengths) in {lengths[place] for place in chosen}


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([[0.6, 0.4], [0.49, 0.51]], None),
        ([[0.60009, 0.39991], [0.49, 0.51]], None),
        ([[0.6002, 0.3998], [0.49, 0.51]], "a score differs by 0.0002"),
        ([[float("nan"), 0.4], [0.49, 0.51]], "a score differs by nan"),
    ],
)
def test_scores_in_fp32(found: list[list[float]], wrong: str | None) -> None:
    said = scores_disagree(torch.tensor(found), torch.tensor([[0.6, 0.4], [0.49, 0.51]]), TO_1E4)
    assert said == wrong or (wrong is not None and str(said).startswith(wrong))


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([[0.505, 0.495]], None),  # fp32 was as good as undecided
        ([[0.525, 0.475]], "a score differs"),
        ([[0.48, 0.52]], None),
    ],
)
def test_rounded_scores(found: list[list[float]], wrong: str | None) -> None:
    said = scores_disagree(torch.tensor(found), torch.tensor([[0.493, 0.507]]), ROUNDED)
    assert said == wrong or (wrong is not None and str(said).startswith(wrong))


def test_a_clear_label_may_not_change() -> None:
    said = scores_disagree(torch.tensor([[0.505, 0.495]]), torch.tensor([[0.488, 0.512]]), ROUNDED)
    assert said == "a label differs"


def test_rows_that_overflow_on_both_sides_agree() -> None:
    nan = torch.full((1, 2), torch.nan)
    assert scores_disagree(nan, nan, TO_1E4) is None
    assert embeddings_disagree(nan, nan, TO_1E4) is None
    assert embeddings_disagree(nan, torch.ones(1, 2), TO_1E4) is not None


def test_embeddings() -> None:
    one = torch.tensor([[1.0, 0.0]])
    moved = torch.nn.functional.normalize(torch.tensor([[1.0, 0.01]]), dim=1)
    assert embeddings_disagree(moved, one, ROUNDED) is None
    assert "moved by 0.01" in str(embeddings_disagree(moved, one, TO_1E4))


def run(model: EncoderModel) -> list[float]:
    kind, params, context = Classify(), ClassifyParams(), RunContext(device=CPU)
    state = kind.prepare(model, params, context)
    found = kind.run(model, state, rows_of(TEXTS), params, context)
    return [one.output["score"] for one in found]  # type: ignore[union-attr]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "model", "bert", LABELS)


def test_a_way_that_disagrees_is_refused_and_named(folder: Path) -> None:
    right = run(EncoderModel.load(folder, EXACT))
    model = EncoderModel.load(folder, EXACT)
    way = model._ways[0]
    assert isinstance(way, PackedWay)
    stack = way._encoder._stack
    object.__setattr__(
        stack, "first_position", 1
    )  # as for a family whose positions are counted otherwise
    assert model.describe()["path"] == "packed"
    assert run(model) == pytest.approx(right, abs=1e-5)
    facts = model.describe()
    assert facts["path"] == "padded"
    assert len(facts["fallbacks"]) == 1
    assert facts["fallbacks"][0].startswith("torch, packed rows in fp32: a score differs by ")


def test_a_way_that_breaks_is_refused_and_named(folder: Path) -> None:
    model = EncoderModel.load(folder, EXACT)
    right = run(EncoderModel.load(folder, EXACT))
    way = model._ways[0]
    assert isinstance(way, PackedWay)
    object.__setattr__(way._encoder._stack, "heads", 5)
    assert run(model) == pytest.approx(right, abs=1e-5)
    assert model.describe()["fallbacks"][0].startswith("torch, packed rows in fp32: RuntimeError: ")


BF16 = LoadOptions(device=CPU, precision="bf16")


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_bf16_within_its_tolerance(family: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", family, LABELS, initializer_range=0.1)
    model = EncoderModel.load(folder, BF16)
    scores = run(model)
    assert model.describe()["fallbacks"] == []
    assert model.describe()["precision"] == "bf16"
    exact = run(EncoderModel.load(folder, EXACT))
    assert scores == pytest.approx(exact, abs=ROUNDED.score)
    assert scores != pytest.approx(exact, abs=1e-5)


def test_a_model_that_bf16_harms_is_computed_in_fp32(tmp_path: Path) -> None:
    """Weights so wide that rounding changes the labels."""
    folder = save_encoder(tmp_path / "model", "bert", LABELS, initializer_range=1.5)
    model = EncoderModel.load(folder, BF16)
    scores = run(model)
    facts = model.describe()
    assert [one.partition(":")[0] for one in facts["fallbacks"]] == [
        "torch, packed rows in bf16",
        "torch, padded rows in bf16",
    ]
    assert (facts["path"], facts["precision"]) == ("padded", "fp32")
    assert scores == pytest.approx(run(EncoderModel.load(folder, EXACT)), abs=1e-4)


def test_the_reference_is_plain_transformers(folder: Path) -> None:
    model = EncoderModel.load(folder, LoadOptions(device=CPU, precision="fp32", engine=REFERENCE))
    assert model.describe()["path"] == "padded"
    assert run(model) == pytest.approx(run(EncoderModel.load(folder, EXACT)), abs=1e-4)
