"""How a model is trained: numbers, and where they come from. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from nlp.training.params import Schedule, TrainingParams


@dataclass(frozen=True, kw_only=True)
class Hyper:
    """Hyper-parameters of a training. The values here are the last resort; each task has its own."""

    epochs: float = 3
    learning_rate: float = 5e-5
    schedule: Schedule = "linear"
    warmup: float = 0.1  #: share of the steps
    batch_size: int = 32  #: most rows of a batch
    batch_tokens: int = 16_384  #: most tokens of a batch, padding included
    gradient_accumulation: int = 1  #: batches to a step
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)  #: AdamW's
    clip: float = 1.0  #: most that the norm of all gradients may be
    dropout: float = 0.0
    label_smoothing: float = 0.0
    early_stopping: int | None = None  #: evaluations without a better one after which it ends

    def chosen(self, params: TrainingParams) -> Hyper:
        """These, with those that the job names in their place."""
        given: dict[str, Any] = {
            one.name: value
            for one in fields(self)
            if (value := getattr(params, one.name, None)) is not None
        }
        return replace(self, **given)
