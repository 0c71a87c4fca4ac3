"""What is learned while everything is killed: a small BERT of random weights, and rows whose label a word tells."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

from tests.unit.nlp.tinymodels import save_tokenizer

LABELS = ("parcel", "refund", "praise")

#: Words of a text, and words that there are beside the labels.
_WORDS, _VOCABULARY = 10, 600


def write_model(folder: Path) -> Path:
    """Enough weights that threads add up in another order, so that their number shows in the result."""
    folder.mkdir()
    size = save_tokenizer(folder, max_length=64, bert=True)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def write_rows(path: Path, count: int) -> Path:
    """So many rows, no two of which are alike."""
    draw = random.Random(9)
    words = ["".join(draw.choices("abcdefghiklmnoprstu", k=5)) for _ in range(_VOCABULARY)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            label = LABELS[number % len(LABELS)]
            text = draw.choices(words, k=_WORDS)
            text[draw.randrange(_WORDS)] = label
            file.write(json.dumps({"text": " ".join(text), "label": label}) + "\n")
    return path
