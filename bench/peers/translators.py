"""Translation by plain ``generate`` of transformers, in padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from bench.peers.peer import Peer


class PlainTranslator(Peer):
    """Texts sorted by length, in batches, through ``generate``.

    Args:
        folder: of the model.
        dtype: such as ``float32``.
    """

    def __init__(self, folder: str, dtype: str = "float32") -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = dtype
        auto: Any = AutoModelForSeq2SeqLM
        model = auto.from_pretrained(folder, dtype=getattr(torch, dtype))
        self._model = model.to(self._device).eval()

    def facts(self) -> dict[str, Any]:
        return {"transformers": transformers.__version__, "dtype": self._dtype}

    @torch.inference_mode()
    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        """Options: ``batch_size``, ``max_new_tokens`` and ``num_beams``."""
        batch = int(options["batch_size"])
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        outputs: list[Any] = [None] * len(texts)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            inputs = self._tokenizer(
                [texts[place] for place in chosen],
                padding=True,
                truncation=True,
                return_tensors="pt",
            )
            made = self._model.generate(
                **inputs.to(self._device),
                max_new_tokens=options["max_new_tokens"],
                num_beams=options["num_beams"],
                do_sample=False,
            )
            written = self._tokenizer.batch_decode(made, skip_special_tokens=True)
            for place, text in zip(chosen, written, strict=True):
                # Every answer begins with the token that starts the decoder.
                outputs[place] = {"text": text, "tokens": made.shape[1] - 1}
        return outputs
