"""Continuous writing, against plain fp32 transformers one prompt at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from jobs.rows import RowFailure
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.decoding import Decoding, Prompt, Written
from nlp.generation.engine import GenerationEngine
from nlp.generation.engines import make_engine
from nlp.generation.model import GeneratorModel
from nlp.generation.padded import PaddedEngine
from nlp.generation.refill import RefillEngine
from nlp.prompts import summary_prompt
from tests.unit.nlp.tinymodels import EXACT, TEXTS
from tests.unit.nlp.writers import FAMILIES, OTHERS, ids_of, plainly, save_writer, some_prompts

Folder = tuple[str, Path]


def engine_of(folder: Path) -> GenerationEngine:
    return make_engine(Checkpoint.read(folder), EXACT)


def refill_of(folder: Path, *, slots: int) -> RefillEngine:
    """An engine with so few slots that they must be filled again."""
    engine = engine_of(folder)
    assert isinstance(engine, RefillEngine)
    engine._max_slots = slots
    return engine


def ignore(_positions: Sequence[int]) -> None:
    """Hear what is finished and do nothing."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_writer(tmp_path_factory.mktemp("llama"), "llama")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_writes_what_it_writes_alone(tmp_path: Path, family: str) -> None:
    folder = save_writer(tmp_path, family)
    prompts = some_prompts(14)
    plain = plainly(folder, prompts)
    assert len({len(ids) for ids in plain}) >= 4, "answers end at different places"
    assert ids_of(refill_of(folder, slots=4).write(prompts, ignore)) == plain


@pytest.mark.parametrize("family", OTHERS)
def test_what_cannot_be_refilled_is_padded(
    tmp_path: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_writer(tmp_path, family)
    engine = engine_of(folder)
    assert isinstance(engine, PaddedEngine)
    assert "padded" in capsys.readouterr().out
    prompts = some_prompts(5)
    assert ids_of(engine.write(prompts, ignore)) == plainly(folder, prompts)


@pytest.mark.parametrize("slots", [1, 3, 64])
def test_neither_order_nor_neighbours_matter(llama: Path, slots: int) -> None:
    prompts = some_prompts(20)
    plain = plainly(llama, prompts)
    engine = refill_of(llama, slots=slots)
    finished: list[int] = []
    assert ids_of(engine.write(prompts, finished.extend)) == plain
    assert sorted(finished) == list(range(len(prompts)))
    order = random.Random(1).sample(range(len(prompts)), len(prompts))
    again = engine.write([prompts[position] for position in order], ignore)
    assert ids_of(again) == [plain[position] for position in order]
    assert ids_of(engine.write(prompts[3:4], ignore)) == plain[3:4]


@pytest.mark.parametrize("min_tokens", [0, 6])
def test_draws_are_the_same_alone_in_company_and_in_padded_batches(
    llama: Path, min_tokens: int
) -> None:
    prompts = some_prompts(9, max_tokens=12, min_tokens=min_tokens, temperature=1.2, seed=4)
    engine = refill_of(llama, slots=3)
    together = ids_of(engine.write(prompts, ignore))
    assert together == [ids_of(engine.write([prompt], ignore))[0] for prompt in prompts]
    assert together == ids_of(engine._padded.write(prompts, ignore))
    assert all(len(ids) >= min_tokens for ids in together)
    assert together != ids_of(engine.write(some_prompts(9, max_tokens=12), ignore))
    other = some_prompts(9, max_tokens=12, min_tokens=min_tokens, temperature=1.2, seed=5)
    assert together != ids_of(engine.write(other, ignore))


def test_loops_are_broken_as_in_padded_batches(llama: Path) -> None:
    # A model that writes the same few tokens again and again: it hardly sees its prompt.
    engine = refill_of(llama, slots=4)
    with torch.no_grad():
        for layer in engine._padded.model.model.layers:
            layer.self_attn.o_proj.weight.mul_(0)
    looping, free = (
        some_prompts(10, max_tokens=60, min_tokens=60, no_loops=no_loops)
        for no_loops in (False, True)
    )
    made = ids_of(engine.write(free, ignore))
    assert made == ids_of(engine._padded.write(free, ignore))
    assert made != ids_of(engine.write(looping, ignore)), "nothing looped"
    for ids in made:
        sixes = [tuple(ids[place : place + 6]) for place in range(len(ids) - 5)]
        assert len(set(sixes)) == len(sixes)


def test_a_model_of_its_own_penalty(tmp_path: Path, llama: Path) -> None:
    folder = save_writer(tmp_path, "llama", repetition_penalty=1.4)
    prompts = some_prompts(8, max_tokens=20)
    made = ids_of(refill_of(folder, slots=3).write(prompts, ignore))
    assert made == plainly(folder, prompts)
    assert made != plainly(llama, prompts)


def test_a_model_that_asks_for_more_is_padded(tmp_path: Path) -> None:
    folder = save_writer(tmp_path, "llama", no_repeat_ngram_size=3)
    engine = engine_of(folder)
    assert isinstance(engine, PaddedEngine)
    prompts = some_prompts(4)
    assert ids_of(engine.write(prompts, ignore)) == plainly(folder, prompts)


def test_beams_are_searched_beside_others(llama: Path) -> None:
    engine = refill_of(llama, slots=3)
    greedy, searched = some_prompts(4), some_prompts(4, num_beams=3, max_tokens=9)
    mixed = [*greedy[:2], *searched, *greedy[2:]]
    finished: list[int] = []
    made = ids_of(engine.write(mixed, finished.extend))
    assert sorted(finished) == list(range(len(mixed)))
    assert made[:2] + made[6:] == plainly(llama, greedy)
    assert made[2:6] == ids_of(engine._padded.write(searched, ignore))


def test_numbers_that_are_none_stay_in_their_row(llama: Path) -> None:
    prompts = some_prompts(12)
    plain = plainly(llama, prompts)
    engine = refill_of(llama, slots=2)
    known = {token for ids in plain for token in ids}
    known |= {token for prompt in prompts for token in prompt.ids}
    poison = min(set(range(60, 320)) - known)
    with torch.no_grad():
        engine._padded.model.get_input_embeddings().weight[poison] = torch.nan
    prompts[5].ids[-1:] = [poison]
    made = engine.write(prompts, ignore)
    failed = made.pop(5)
    assert isinstance(failed, RowFailure)
    assert failed.code == "non_finite"
    assert ids_of(made) == plain[:5] + plain[6:]


def test_a_row_at_fault_fails_alone(llama: Path) -> None:
    prompts = some_prompts(7)
    plain = plainly(llama, prompts)
    prompts[2].ids[-1:] = [100_000]
    finished: list[int] = []
    made = refill_of(llama, slots=4).write(prompts, finished.extend)
    failed = made.pop(2)
    assert isinstance(failed, RowFailure)
    assert failed.code == "inference_failed"
    assert ids_of(made) == plain[:2] + plain[3:]
    assert sorted(finished) == list(range(len(prompts)))


def test_fewer_slots_where_memory_runs_out(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = some_prompts(16)
    plain = plainly(llama, prompts)
    engine = refill_of(llama, slots=16)
    decode = engine._network.decode
    huge = max(range(len(prompts)), key=lambda position: len(prompts[position]))

    def small(cache: Any, tokens: Sequence[int], positions: Sequence[int]) -> Any:
        if cache.slots > 5 or cache.capacity >= 80:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return decode(cache, tokens, positions)

    prompts[huge].ids[-1:] *= 60
    monkeypatch.setattr(engine._network, "decode", small)
    finished: list[int] = []
    made = engine.write(prompts, finished.extend)
    failed = made.pop(huge)
    assert isinstance(failed, RowFailure)
    assert failed.code == "out_of_memory"
    assert ids_of(made) == plain[:huge] + plain[huge + 1 :]
    assert sorted(finished) == list(range(len(prompts)))


def test_whoever_hears_of_a_row_may_stop_it_all(llama: Path) -> None:
    class EnoughError(Exception):
        """Raised to stop."""

    def stop(_positions: Sequence[int]) -> None:
        raise EnoughError

    engine = refill_of(llama, slots=3)
    prompts = some_prompts(6)
    with pytest.raises(EnoughError):
        engine.write(prompts, stop)
    assert engine._padded.model.config._attn_implementation == "sdpa"
    assert ids_of(engine.write(prompts, ignore)) == plainly(llama, prompts)


def test_cut_says_whether_the_model_was_still_writing(llama: Path) -> None:
    prompts = some_prompts(14)
    made = refill_of(llama, slots=4).write(prompts, ignore)
    cuts = [answer.cut for answer in made if isinstance(answer, Written)]
    full = [
        len(ids) == prompt.decoding.max_tokens
        for ids, prompt in zip(ids_of(made), prompts, strict=True)
    ]
    assert cuts == full
    assert set(cuts) == {True, False}


def test_a_real_model_writes_what_it_writes_alone(smollm2: Path) -> None:
    model = GeneratorModel.load(smollm2, EXACT)
    frame = model.frame(summary_prompt("sentence", None, None))
    decoding = Decoding(max_tokens=24)
    texts = [TEXTS[0], TEXTS[2], " ".join(TEXTS[3:]), TEXTS[5], TEXTS[6]]
    prompts = [Prompt(frame.around(ids), decoding) for ids in model.tokenize(texts)]
    engine = model.engine
    assert isinstance(engine, RefillEngine)
    engine._max_slots = 3
    auto_class: Any = AutoModelForCausalLM
    plain = auto_class.from_pretrained(smollm2, dtype=torch.float32)
    for prompt, ids in zip(prompts, ids_of(engine.write(prompts, ignore)), strict=True):
        with torch.inference_mode():
            inputs = torch.tensor([prompt.ids])
            alone = plain.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=24,
                do_sample=False,
                eos_token_id=sorted(Checkpoint.read(smollm2).ends),
            )[0, len(prompt) :].tolist()
        assert ids == alone[: len(ids)]
        assert len(alone) - len(ids) <= 1, "at most the closing token"
