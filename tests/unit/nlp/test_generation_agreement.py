"""Generations are compared by how much the reference prefers its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs.kinds import REFERENCE, LoadOptions
from jobs.rows import RowFailure
from nlp.generation.agreement import generations_disagree
from nlp.generation.decoding import Decoding, Prompt, Written
from nlp.generation.model import GeneratorModel
from nlp.generation.padded import PaddedEngine
from tests.unit.nlp.families import save_family
from tests.unit.nlp.tinymodels import CPU

PLAIN = LoadOptions(device=CPU, precision="exact", engine=REFERENCE)


@pytest.fixture(scope="module", params=["bart", "llama"])
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> GeneratorModel:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return GeneratorModel.load(save_family(folder, request.param), PLAIN)


def answered(reference: GeneratorModel, beams: int = 1) -> tuple[Prompt, Written]:
    prompt = Prompt([20, 31, 42, 53], Decoding(max_tokens=8, num_beams=beams))
    with reference.tracing() as trace:
        reference.generate([prompt], lambda _: None)
    ((asked, written),) = trace
    assert isinstance(written, Written)
    assert asked == prompt
    return prompt, written


def following(reference: GeneratorModel, prompt: Prompt, begun: list[int]) -> torch.Tensor:
    engine = reference.engine
    assert isinstance(engine, PaddedEngine)
    inputs = {"input_ids": torch.tensor([[*prompt.ids, *begun]])}
    if reference.is_seq2seq:
        inputs = {
            "input_ids": torch.tensor([prompt.ids]),
            "decoder_input_ids": torch.tensor([[2, *begun]]),
        }
    logits: torch.Tensor = engine.model(**inputs).logits[0, -1]
    return logits


def test_the_gap_counts_where_two_answers_first_differ(reference: GeneratorModel) -> None:
    prompt, written = answered(reference)
    assert len(written.ids) >= 3
    logits = following(reference, prompt, written.ids[:2])
    order = logits.argsort(descending=True).tolist()
    assert order[0] == written.ids[2]
    for rank in (1, 5, 50):
        gap = float(logits[order[0]] - logits[order[rank]])
        other = Written([*written.ids[:2], order[rank], *written.ids[3:]], cut=written.cut)
        found = generations_disagree(reference, [(prompt, written)], [(prompt, other)], exact=False)
        assert (found is None) is (gap <= 0.5)
        strict = generations_disagree(reference, [(prompt, written)], [(prompt, other)], exact=True)
        assert (strict is None) is (gap <= 0.01)
        if found is not None:
            assert f"{gap:.2f} less likely" in found


def test_equal_answers_agree_and_failures_must_be_shared(reference: GeneratorModel) -> None:
    prompt, written = answered(reference)
    failure = RowFailure("non_finite", "x")
    pairs = [(prompt, written)]
    assert generations_disagree(reference, pairs, pairs, exact=True) is None
    assert "failed" in str(generations_disagree(reference, pairs, [(prompt, failure)], exact=False))
    elsewhere = Prompt([9, 9], prompt.decoding)
    assert generations_disagree(reference, pairs, [(elsewhere, failure)], exact=True) is None


def test_beams_are_compared_by_their_scores(reference: GeneratorModel) -> None:
    prompt, written = answered(reference, beams=4)
    worse = Written([7, 8, 9], cut=True)
    found = generations_disagree(reference, [(prompt, written)], [(prompt, worse)], exact=False)
    assert found is not None
    # The other way round: an answer that the search missed is no fault.
    assert (
        generations_disagree(reference, [(prompt, worse)], [(prompt, written)], exact=True) is None
    )
