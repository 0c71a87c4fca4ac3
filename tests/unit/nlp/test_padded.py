"""Encoder-decoders in padded batches, against plain fp32 transformers one prompt at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from nlp.generation.checkpoint import Checkpoint
from nlp.generation.decoding import Prompt
from nlp.generation.padded import PaddedEngine
from nlp.packed_linear import PackedLinear
from tests.unit.nlp.tinymodels import CPU
from tests.unit.nlp.writers import (
    ENCODER_DECODERS,
    ENDS,
    ids_of,
    plainly,
    save_writer,
    some_prompts,
)


def engine_of(folder: Path) -> PaddedEngine:
    return PaddedEngine.load(Checkpoint.read(folder), CPU, "exact")


def ignore(_positions: Sequence[int]) -> None:
    """Hear what is finished and do nothing."""


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_every_family_writes_what_it_writes_alone(tmp_path: Path, family: str) -> None:
    folder = save_writer(tmp_path, family)
    engine = engine_of(folder)
    assert any(isinstance(module, PackedLinear) for module in engine.model.modules())
    prompts = some_prompts(9)
    finished: list[int] = []
    assert ids_of(engine.write(prompts, finished.extend)) == plainly(folder, prompts)
    assert sorted(finished) == list(range(len(prompts)))
    searched = some_prompts(5, num_beams=3, max_tokens=12)
    assert ids_of(engine.write(searched, ignore)) == plainly(folder, searched, num_beams=3)


def test_led_reads_more_than_it_writes(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(save_writer(tmp_path, "led"))
    assert (checkpoint.context, checkpoint.answer) == (128, 64)


@pytest.mark.parametrize("forced", [(17,), (17, 99)])
@pytest.mark.parametrize("beams", [1, 2])
def test_answers_begin_as_they_must(tmp_path: Path, forced: tuple[int, ...], beams: int) -> None:
    folder = save_writer(tmp_path, "mbart")
    prompts = some_prompts(6, max_tokens=10, num_beams=beams)
    forcing = [Prompt(prompt.ids, prompt.decoding, forced) for prompt in prompts]
    mixed = [*prompts[:3], *forcing, *prompts[3:]]
    made = ids_of(engine_of(folder).write(mixed, ignore))
    assert made[:3] + made[-3:] == plainly(folder, prompts, num_beams=beams)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    for prompt, ids in zip(prompts, made[3:-3], strict=True):
        # One forced token is what ``forced_bos_token_id`` is for; more can only be given as the beginning.
        begun = [4] if len(forced) == 1 else [4, *forced]
        with torch.inference_mode():
            alone = model.generate(
                torch.tensor([prompt.ids]),
                decoder_input_ids=torch.tensor([begun]),
                forced_bos_token_id=forced[0] if len(forced) == 1 else None,
                max_new_tokens=10 + (len(forced) == 1),
                num_beams=beams,
                do_sample=False,
            )[0, 1 + len(forced) :].tolist()
        end = next((place for place, token in enumerate(alone) if token in ENDS), None)
        assert ids == alone[:end]
