"""Answers of an instruction model by plain ``generate`` of transformers, in padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.peers.peer import Peer


class PlainGenerator(Peer):
    """Texts sorted by length, in batches, through the chat template and ``generate``.

    Args:
        folder: of the model.
        instruction: what the model is told, with ``{text}`` where a text goes.
        dtype: such as ``float32``.
    """

    def __init__(self, folder: str, instruction: str, dtype: str = "float32") -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._instruction = instruction
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = dtype
        auto: Any = AutoModelForCausalLM
        model = auto.from_pretrained(folder, dtype=getattr(torch, dtype))
        self._model = model.to(self._device).eval()

    def facts(self) -> dict[str, Any]:
        return {"transformers": transformers.__version__, "dtype": self._dtype}

    @torch.inference_mode()
    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        """Options: ``batch_size`` and ``max_new_tokens``."""
        batch = int(options["batch_size"])
        tokenizer = self._tokenizer
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        outputs: list[Any] = [None] * len(texts)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            prompts = [
                tokenizer.apply_chat_template(
                    [
                        {
                            "role": "user",
                            "content": self._instruction.replace("{text}", texts[place]),
                        }
                    ],
                    tokenize=False,
                    add_generation_prompt=True,
                )
                for place in chosen
            ]
            inputs = tokenizer(prompts, padding=True, add_special_tokens=False, return_tensors="pt")
            made = self._model.generate(
                **inputs.to(self._device),
                max_new_tokens=options["max_new_tokens"],
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
            written = made[:, inputs["input_ids"].shape[1] :]
            decoded = tokenizer.batch_decode(written, skip_special_tokens=True)
            for place, text, ids in zip(chosen, decoded, written, strict=True):
                tokens = int((ids != tokenizer.pad_token_id).sum())
                outputs[place] = {"text": text, "tokens": tokens}
        return outputs
