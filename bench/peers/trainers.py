"""transformers' Trainer, as its documentation calls it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
)

from bench.peers.peer import Peer


class TrainerClassifier(Peer):
    """A classifier trained by ``Trainer`` at its defaults: fp32, batches of 8 as they come, 3 epochs, AdamW at 5e-5.

    Args:
        folder: of the encoder to start from.
        max_tokens: that texts are cut to.
    """

    def __init__(self, folder: str, max_tokens: int) -> None:
        self._folder = folder
        self._max_tokens = max_tokens
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._trainer: Any = None

    def facts(self) -> dict[str, Any]:
        return {"transformers": transformers.__version__, "accelerate": version("accelerate")}

    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        """Train on texts with ``labels``, one for each; without them, label texts by what was trained."""
        if "labels" not in options:
            logits = self._trainer.predict(self._rows(texts)).predictions
            names = self._trainer.model.config.id2label
            return [names[int(place)] for place in logits.argmax(axis=1)]
        labels: list[str] = options["labels"]
        names = sorted(set(labels))
        transformers.set_seed(options.get("seed", 0))
        auto: Any = AutoModelForSequenceClassification
        model = auto.from_pretrained(
            self._folder,
            dtype=torch.float32,
            id2label=dict(enumerate(names)),
            label2id={name: place for place, name in enumerate(names)},
        )
        rows = self._rows(texts)
        for row, label in zip(rows, labels, strict=True):
            row["label"] = names.index(label)
        with tempfile.TemporaryDirectory() as scratch:
            self._trainer = Trainer(
                model=model,
                args=TrainingArguments(str(Path(scratch)), report_to="none"),
                train_dataset=rows,
                processing_class=self._tokenizer,
            )
            self._trainer.train()
        return labels

    def _rows(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        encoded = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)
        return [{name: encoded[name][place] for name in encoded} for place in range(len(texts))]
