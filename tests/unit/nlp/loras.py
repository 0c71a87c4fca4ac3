"""LoRA adapters with random weights, made by PEFT, which is also what they are compared with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model


@contextmanager
def _as_it_is() -> Iterator[None]:
    """PEFT asks transformers for what has a new name there."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        yield


def save_adapter(model: Any, folder: Path, seed: int, **config: Any) -> Path:
    """Put an adapter over a fresh transformers model, with weights that change its outputs, and save it."""
    torch.manual_seed(seed)
    with _as_it_is():
        peft = get_peft_model(model, LoraConfig(init_lora_weights=False, **config))
    for name, parameter in peft.named_parameters():
        if "modules_to_save" in name:
            parameter.data.normal_(0, 0.3)
    peft.save_pretrained(str(folder))
    return folder


def with_adapter(model: Any, folder: Path) -> Any:
    """A fresh transformers model with the adapter over it, as PEFT does it."""
    with _as_it_is():
        return PeftModel.from_pretrained(model, folder).eval()
