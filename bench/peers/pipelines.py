"""transformers' own pipeline, as its documentation calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from transformers import pipeline

from bench.peers.peer import Peer


class ClassificationPipeline(Peer):
    """``pipeline("text-classification")`` over a list of texts.

    Args:
        folder: of the model.
        batch_size: as the pipeline takes it; texts are batched as they come.
        dtype: such as ``float32``.
    """

    def __init__(self, folder: str, batch_size: int = 8, dtype: str = "float32") -> None:
        make: Any = pipeline  # its overloads know no local folders
        self._pipeline = make(
            "text-classification",
            model=folder,
            batch_size=batch_size,
            dtype=getattr(torch, dtype),
            device=0 if torch.cuda.is_available() else -1,
        )
        self._dtype = dtype

    def facts(self) -> dict[str, Any]:
        return {"transformers": transformers.__version__, "dtype": self._dtype}

    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        return [
            {"label": found["label"], "score": float(found["score"])}
            for found in self._pipeline(list(texts), truncation=True)
        ]
