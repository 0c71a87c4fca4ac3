"""CTranslate2 beside plain fp32 transformers, one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from jobs.errors import JobFailure
from jobs.kinds import LoadOptions, Precision
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.ctranslate2 import CTranslate2Engine
from nlp.generation.decoding import Decoding, Prompt, Written
from nlp.generation.padded import PaddedEngine
from tests.unit.nlp.families import DECODERS, END, FAMILIES, save_family
from tests.unit.nlp.tinymodels import CPU

FP32 = LoadOptions(device=CPU, precision="fp32", engine="ctranslate2")
TOKENS = 20


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family: save_family(root / family, family) for family in FAMILIES}


def rows(count: int = 20, longest: int = 40) -> list[list[int]]:
    draw = torch.Generator().manual_seed(3)
    lengths = torch.randint(3, longest, (count,), generator=draw).tolist()
    return [torch.randint(5, 300, (size,), generator=draw).tolist() for size in lengths]


def plain(checkpoint: Checkpoint, texts: Sequence[list[int]], **options: Any) -> list[list[int]]:
    """What transformers alone writes, without the closing token."""
    kind: Any = AutoModelForSeq2SeqLM if checkpoint.is_seq2seq else AutoModelForCausalLM
    model = kind.from_pretrained(checkpoint.files, dtype=torch.float32).eval()
    found = []
    for ids in texts:
        with torch.inference_mode():
            made = model.generate(
                input_ids=torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                do_sample=False, max_length=None, **{"max_new_tokens": TOKENS, **options},
            )[0].tolist()  # fmt: skip
        new = made[1 if checkpoint.is_seq2seq else len(ids) :]
        ends = [place for place, token in enumerate(new) if token in checkpoint.ends]
        found.append(new[: ends[0]] if ends else new)
    return found


def write(engine: CTranslate2Engine, texts: Sequence[list[int]], **options: Any) -> list[list[int]]:
    decoding = Decoding(**{"max_tokens": TOKENS, **options})
    finished: list[int] = []
    made = engine.write([Prompt(ids, decoding) for ids in texts], finished.extend)
    assert sorted(finished) == list(range(len(texts)))
    assert all(isinstance(one, Written) for one in made)
    return [one.ids for one in made if isinstance(one, Written)]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_transformers(folders: dict[str, Path], family: str) -> None:
    checkpoint = Checkpoint.read(folders[family])
    texts = rows()
    expected = plain(checkpoint, texts, num_beams=1)
    assert len({tuple(ids) for ids in expected}) > len(texts) // 2, "answers tell rows apart"
    engine = CTranslate2Engine.load(checkpoint, FP32)
    assert (engine.name, engine.precision) == ("ctranslate2", "fp32")
    assert write(engine, texts, num_beams=1) == expected
    assert write(engine, texts[::-3], num_beams=1) == expected[::-3]
    assert write(engine, texts[4:5], num_beams=1) == expected[4:5]


def searching(folder: Path) -> Checkpoint:
    """The model with one closing token: where the tokenizer knows of several, beams are refused."""
    checkpoint = Checkpoint.read(folder)
    return replace(checkpoint, ends=frozenset({END if checkpoint.is_seq2seq else 4}))


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_find_what_transformers_finds(tmp_path: Path, family: str) -> None:
    # A token that is ruled out, as Marian's padding is, weighs otherwise: see what is refused.
    folder = save_family(tmp_path, family, early_stopping=True, bad_words_ids=None)
    checkpoint = searching(folder)
    texts = rows()
    expected = plain(checkpoint, texts, num_beams=4)
    engine = CTranslate2Engine.load(checkpoint, FP32)
    made = write(engine, texts, num_beams=4)
    assert made == expected
    assert write(engine, texts[::-3], num_beams=4) == made[::-3]


#: Settings of beams under which both libraries end with the same answer, wherever answers end.
SEARCHES: list[dict[str, Any]] = [
    {"early_stopping": True},
    {"early_stopping": True, "length_penalty": 2.0},
    {"early_stopping": True, "length_penalty": -1.0},
    {"early_stopping": True, "length_penalty": 0.0},
    {"early_stopping": False, "length_penalty": 0.0},
    {"early_stopping": "never", "length_penalty": 0.0},
]


@pytest.mark.parametrize("own", SEARCHES, ids=str)
@pytest.mark.parametrize("forced", [(), (9,)], ids=["free", "forced"])
def test_searches_end_alike(tmp_path: Path, own: dict[str, Any], forced: tuple[int, ...]) -> None:
    """On models of which answers end early and late, many rows of each."""
    decoding = Decoding(max_tokens=TOKENS, num_beams=4)
    lengths: set[int] = set()
    for seed in (6, 10):
        folder = save_family(tmp_path / str(seed), "bart", seed=seed, num_beams=4, **own)
        checkpoint = searching(folder)
        assert checkpoint.generation.early_stopping == own["early_stopping"]
        prompts = [Prompt(ids, decoding, forced) for ids in rows(40)]
        engine = CTranslate2Engine.load(checkpoint, FP32)
        engine.check(decoding)
        made = engine.write(prompts, lambda _: None)
        assert made == PaddedEngine.load(checkpoint, CPU, "exact").write(prompts, lambda _: None)
        lengths |= {len(one.ids) for one in made if isinstance(one, Written)}
    assert len(lengths) > 4, "answers end at different places"


SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"length_penalty": 2.0, "early_stopping": True}, {"num_beams": 3}),
    ({"no_repeat_ngram_size": 2}, {"num_beams": 1}),
    ({"bad_words_ids": [[17], [30, 31], [2]]}, {"num_beams": 1}),
    ({"suppress_tokens": list(range(40, 200))}, {"num_beams": 1}),
    ({"forced_bos_token_id": 9}, {"num_beams": 1}),
    ({"forced_bos_token_id": 9, "early_stopping": True}, {"num_beams": 4}),
    ({"forced_eos_token_id": 2}, {"num_beams": 1}),
]


@pytest.mark.parametrize(("own", "options"), SETTINGS)
def test_the_models_own_settings_are_respected(
    tmp_path: Path, own: dict[str, Any], options: dict[str, Any]
) -> None:
    checkpoint = searching(save_family(tmp_path, "bart", **own))
    texts = rows()
    engine = CTranslate2Engine.load(checkpoint, FP32)
    assert write(engine, texts, **options) == plain(checkpoint, texts, **options)


@pytest.mark.parametrize("family", ["bart", "llama"])
def test_answers_keep_to_their_lengths(folders: dict[str, Path], family: str) -> None:
    checkpoint = Checkpoint.read(folders[family])
    texts = rows()
    engine = CTranslate2Engine.load(checkpoint, FP32)
    made = write(engine, texts, num_beams=1, min_tokens=6, max_tokens=9)
    assert made == plain(checkpoint, texts, num_beams=1, min_new_tokens=6, max_new_tokens=9)
    assert {6 <= len(ids) <= 9 for ids in made} == {True}


@pytest.mark.parametrize("beams", [1, 4])
def test_forced_beginnings_are_not_part_of_the_answer(tmp_path: Path, beams: int) -> None:
    checkpoint = searching(save_family(tmp_path, "m2m100", early_stopping=True))
    texts = rows()
    engine = CTranslate2Engine.load(checkpoint, FP32)
    decoding = Decoding(max_tokens=TOKENS, num_beams=beams)
    made = engine.write([Prompt(ids, decoding, (11,)) for ids in texts], lambda _: None)
    expected = plain(
        checkpoint, texts, num_beams=beams, forced_bos_token_id=11, max_new_tokens=TOKENS + 1
    )
    assert [one.ids for one in made if isinstance(one, Written)] == [ids[1:] for ids in expected]


def test_loops_are_broken(folders: dict[str, Path]) -> None:
    checkpoint = Checkpoint.read(folders["qwen2"])
    engine = CTranslate2Engine.load(checkpoint, FP32)
    text = rows(1)[0]
    free = write(engine, [text * 3], max_tokens=100)[0]
    held = write(engine, [text * 3], max_tokens=100, no_loops=True)[0]
    grams = [tuple(held[place : place + 6]) for place in range(len(held) - 5)]
    assert len(set(grams)) == len(grams)
    assert held != free


def test_a_conversion_is_made_once_and_kept(folders: dict[str, Path], tmp_path: Path) -> None:
    how = LoadOptions(device=CPU, precision="fp32", engine="ctranslate2", conversions=tmp_path)
    checkpoint = Checkpoint.read(folders["bart"])
    first = CTranslate2Engine.load(checkpoint, how)
    (kept,) = tmp_path.glob("*/ctranslate2-*-float32")
    made = (kept / "model.bin").stat().st_mtime_ns
    second = CTranslate2Engine.load(checkpoint, how)
    assert (kept / "model.bin").stat().st_mtime_ns == made
    assert first.memory_bytes == second.memory_bytes > 0
    assert write(first, rows(4)) == write(second, rows(4))
    assert [path.name for path in kept.parent.iterdir() if path.is_dir()] == [kept.name]


Refused = tuple[str, dict[str, Any], dict[str, Any], str]

REFUSED: list[Refused] = [
    ("bart", {"encoder_no_repeat_ngram_size": 3}, {}, "encoder_no_repeat_ngram_size"),
    ("bart", {"repetition_penalty": 1.2}, {}, "repetition_penalty"),
    ("bart", {"early_stopping": "never"}, {"num_beams": 2}, "early_stopping"),
    ("bart", {"no_repeat_ngram_size": 3}, {"num_beams": 2}, "ruled out"),
    ("bart", {"bad_words_ids": [[9]]}, {"num_beams": 2}, "ruled out"),
    ("bart", {}, {"num_beams": 2, "min_tokens": 2}, "ruled out"),
    ("llama", {"no_repeat_ngram_size": 3}, {}, "counts the prompt"),
    ("llama", {}, {"temperature": 0.7}, "neighbours"),
]
#: What only fp32 refuses, where answers must be the same.
REFUSED_IN_FP32: list[Refused] = [
    ("bart", {"early_stopping": False}, {"num_beams": 2}, "must stop"),
    ("bart", {}, {"num_beams": 2}, "must stop"),
    ("bart", {"early_stopping": True, "forced_eos_token_id": 2}, {"num_beams": 2}, "forced"),
    ("bart", {"early_stopping": True, "bad_words_ids": [[0]]}, {"num_beams": 2}, "ruled out"),
]


def refusal(engine: CTranslate2Engine, options: dict[str, Any]) -> str:
    with pytest.raises(JobFailure) as caught:
        engine.check(Decoding(max_tokens=5, **options))
    assert caught.value.failure_code == "engine_unsupported"
    assert caught.value.field == "params.engine"
    return caught.value.detail


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[3])
def test_what_it_cannot_honour_is_refused(
    tmp_path: Path, case: Refused, precision: Precision
) -> None:
    family, own, options, reason = case
    checkpoint = searching(save_family(tmp_path, family, **own))
    engine = CTranslate2Engine.load(checkpoint, replace(FP32, precision=precision))
    assert reason in refusal(engine, options)


@pytest.mark.parametrize(("family", "own", "options", "reason"), REFUSED_IN_FP32)
def test_what_would_be_nearly_the_same_is_refused_in_fp32(
    tmp_path: Path, family: str, own: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    checkpoint = searching(save_family(tmp_path, family, **own))
    assert reason in refusal(CTranslate2Engine.load(checkpoint, FP32), options)
    rounded = CTranslate2Engine.load(checkpoint, replace(FP32, precision="int8"))
    rounded.check(Decoding(max_tokens=5, **options))


@pytest.mark.parametrize(("family", "expected"), [("bart", "int8"), ("llama", "fp32")])
def test_decoders_are_not_rounded_unasked(tmp_path: Path, family: str, expected: str) -> None:
    checkpoint = Checkpoint.read(save_family(tmp_path, family))
    assert CTranslate2Engine.load(checkpoint, replace(FP32, precision="auto")).precision == expected
    assert CTranslate2Engine.load(checkpoint, replace(FP32, precision="int8")).precision == "int8"


def test_beams_need_one_closing_token_and_at_most_one_forced(tmp_path: Path) -> None:
    folder = save_family(tmp_path, "bart", early_stopping=True)
    searched = Decoding(max_tokens=5, num_beams=2)
    engine = CTranslate2Engine.load(searching(folder), FP32)
    with pytest.raises(JobFailure, match="forced"):
        engine.write([Prompt([5, 6], searched, (9, 10))], lambda _: None)
    several = CTranslate2Engine.load(Checkpoint.read(folder), FP32)
    assert "several tokens end" in refusal(several, {"num_beams": 2})
    several.check(Decoding(max_tokens=5, num_beams=1))


def test_models_and_formats_that_it_does_not_know_are_refused(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    bf16 = LoadOptions(device=CPU, precision="bf16", engine="ctranslate2")
    with pytest.raises(JobFailure, match="bf16") as caught:
        CTranslate2Engine.load(Checkpoint.read(folders["bart"]), bf16)
    assert caught.value.failure_code == "engine_unsupported"
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415

    from tests.unit.nlp.tinymodels import save_tokenizer  # noqa: PLC0415

    size = save_tokenizer(tmp_path, max_length=64)
    config: Any = GPT2Config
    GPT2LMHeadModel(config(vocab_size=size, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        tmp_path
    )
    with pytest.raises(JobFailure, match="gpt2") as caught:
        CTranslate2Engine.load(Checkpoint.read(tmp_path), FP32)
    assert caught.value.failure_code == "engine_unsupported"


def test_decoders_are_a_family(folders: dict[str, Path]) -> None:
    assert {name for name, at in folders.items() if not Checkpoint.read(at).is_seq2seq} == set(
        DECODERS
    )


def test_loading_leaves_torch_its_threads(folders: dict[str, Path]) -> None:
    """Else whatever is loaded after it, a second converted model or one of torch's, computes on one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(2):
            CTranslate2Engine.load(Checkpoint.read(folders["marian"]), FP32)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
