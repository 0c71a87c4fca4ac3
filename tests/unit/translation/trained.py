"""A translator of dates, English to German, trained on the spot: random models tie too often to show rounding."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from babel.dates import format_date
from torch import Tensor
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from nlp.loading import quiet
from tests.unit.translation.translators import quietly

#: Dates to learn from, steps and dates a step: as many as give nearly all of the others right.
_TRAINED, _STEPS, _BATCH = 4000, 180, 64
_RATE, _WARM_UP = 3e-3, 0.1
_END = 0

Pair = tuple[str, str]


def save_dates_translator(folder: Path, held_out: int) -> list[Pair]:
    """Train a Marian of 0.7 million parameters, save it as published ones are, and give pairs that it never saw.

    Long and medium dates of English are the same in May and those of German are not, so there are no medium ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = list(_dates(_TRAINED + held_out))
    learned, others = pairs[:_TRAINED], pairs[_TRAINED:]
    tokenizer = _save_tokenizer(folder, learned)
    pad: int = tokenizer.pad_token_id
    torch.manual_seed(1)
    model: Any = MarianMTModel(
        MarianConfig(
            vocab_size=len(tokenizer), d_model=128, encoder_layers=2, decoder_layers=2,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=256, decoder_ffn_dim=256,
            dropout=0.0, activation_function="swish", scale_embedding=True, max_position_embeddings=128,
            pad_token_id=pad, bos_token_id=_END, eos_token_id=_END, decoder_start_token_id=pad,
            forced_eos_token_id=_END,
        )
    )  # fmt: skip
    rows = [
        (tokenizer(one).input_ids, tokenizer(text_target=other).input_ids) for one, other in learned
    ]
    _train(model, rows, pad)
    model.generation_config.update(num_beams=4, bad_words_ids=[[pad]])
    with quiet():
        model.save_pretrained(folder)
    return others


def _dates(count: int) -> Iterator[Pair]:
    draw = random.Random(2)
    first = dt.date(1990, 1, 1)
    for number in draw.sample(range(14_600), count):
        day = first + dt.timedelta(days=number)
        form: Any = draw.choice(["full", "long"])
        yield format_date(day, form, locale="en"), format_date(day, form, locale="de")


def _save_tokenizer(folder: Path, pairs: Sequence[Pair]) -> Any:
    prefix = folder / "dates"
    train: Any = sentencepiece.SentencePieceTrainer
    train.train(
        sentence_iterator=(text for pair in pairs for text in pair), model_prefix=str(prefix), vocab_size=200,
        hard_vocab_limit=False, character_coverage=1.0, split_digits=True, minloglevel=2,
    )  # fmt: skip
    processor: Any = sentencepiece.SentencePieceProcessor
    loaded = processor(model_file=f"{prefix}.model")
    pieces = [loaded.id_to_piece(number) for number in range(loaded.get_piece_size())]
    special = ["</s>", "<unk>"]
    tokens = [*special, *(piece for piece in pieces if piece not in {*special, "<s>"}), "<pad>"]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    model = f"{prefix}.model"
    own: Any = {"source_lang": "eng", "target_lang": "deu"}
    tokenizer = quietly(lambda: MarianTokenizer(model, model, str(vocabulary), **own))
    tokenizer.save_pretrained(folder)
    return tokenizer


def _train(model: Any, rows: Sequence[tuple[list[int], list[int]]], pad: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.98))
    warm = _WARM_UP * _STEPS
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (_STEPS - step) / (_STEPS - warm))
    )
    draw = random.Random(3)
    model.train()
    for _ in range(_STEPS):
        batch = draw.sample(rows, _BATCH)
        source = _padded([one for one, _ in batch], pad)
        loss = model(
            input_ids=source,
            attention_mask=(source != pad).long(),
            labels=_padded([other for _, other in batch], -100),
        ).loss
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def _padded(rows: Sequence[list[int]], filler: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])
