"""LoRA adapters made by PEFT, as :mod:`nlp.adapters` reads them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn

from jobs.errors import JobFailure
from nlp.adapter_files import FACTS
from nlp.training.params import TrainingParams


def with_lora(model: Any, params: TrainingParams, *, heads: Sequence[str] = ()) -> Any:
    """A transformers model with an adapter over it: only the adapter's weights are trained.

    Args:
        heads: modules of the model's own that are trained whole and kept in the adapter.

    Raises:
        JobFailure: ``invalid_params``, the model has no layers of the names that are asked for.
    """
    found = linear_layers(model)
    if params.lora_targets is not None:
        found = [
            name
            for name in found
            if any(f".{name}".endswith(f".{end}") for end in params.lora_targets)
        ]
    if not found:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in linear_layers(model)}))
        raise JobFailure(
            "invalid_params",
            f"No linear layer has such a name; known ends of names: {known}.",
            field="params.lora_targets",
        )
    config = LoraConfig(
        r=params.lora_rank,
        lora_alpha=params.lora_alpha or 2 * params.lora_rank,  # type: ignore[arg-type]  # peft scales by any number
        lora_dropout=params.lora_dropout,
        target_modules=found,
        modules_to_save=list(heads) or None,
    )
    with as_it_is():
        return get_peft_model(model, config)


def save_lora(model: Any, folder: Path, reference: str) -> None:
    """Write the adapter alone, and which base it is for."""
    with as_it_is():
        model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's is an empty form
    (folder / FACTS).write_text(json.dumps({"base": reference}) + "\n", encoding="utf-8")


def linear_layers(model: Any) -> list[str]:
    """Names of the linear layers of a model without those of its head."""
    trunk = model.base_model
    # Only what is below the trunk; a model that has no head is its own trunk.
    prefix = "" if trunk is model else f"{model.base_model_prefix}."
    return [
        f"{prefix}{name}"
        for name, module in trunk.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    ]


@contextmanager
def as_it_is() -> Iterator[None]:
    """PEFT asks transformers for what has a new name there."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        yield
