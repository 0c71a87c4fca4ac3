"""The loop that a careful engineer writes by hand around a transformers classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bench.peers.peer import Peer


class HandwrittenClassifier(Peer):
    """Sorted by length, batched under a token budget, bf16 where the processor multiplies it in hardware.

    Args:
        folder: of the model.
        budget: padded tokens of a batch.
    """

    def __init__(self, folder: str, budget: int = 4096) -> None:
        self._budget = budget
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = torch.bfloat16 if _has_fast_bf16() else torch.float32
        model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=self._dtype)
        self._model = model.to(self._device).eval()

    def facts(self) -> dict[str, Any]:
        dtype = str(self._dtype).removeprefix("torch.")
        return {"transformers": transformers.__version__, "dtype": dtype}

    @torch.inference_mode()
    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        encoded = self._tokenizer(list(texts), truncation=True)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        order = sorted(range(len(texts)), key=lambda place: -lengths[place])
        names = self._model.config.id2label
        outputs: list[Any] = [None] * len(texts)
        start = 0
        while start < len(order):
            count = max(1, self._budget // lengths[order[start]])
            chosen = order[start : start + count]
            start += count
            rows = {name: [encoded[name][place] for place in chosen] for name in encoded}
            inputs = self._tokenizer.pad(rows, return_tensors="pt").to(self._device)
            shares = self._model(**inputs).logits.float().softmax(dim=1).cpu()
            scores, labels = shares.max(dim=1)
            for place, score, label in zip(chosen, scores.tolist(), labels.tolist(), strict=True):
                outputs[place] = {"label": names[label], "score": score}
        return outputs


def _has_fast_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    path = Path("/proc/cpuinfo")
    flags = path.read_text("utf-8").split() if path.exists() else []
    return "amx_bf16" in flags or "avx512_bf16" in flags
