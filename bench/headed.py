"""A classifier to measure with: MiniLM under a head of random weights. Its speed is that of any head."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

#: Tokens that texts are cut to, as MiniLM's own card has it.
MAX_TOKENS = 256
_SEED = 3
#: Spread of the head's weights: wide enough that most texts have a clear label.
_SPREAD = 0.5


def save_headed(encoder: Path, folder: Path, labels: list[str]) -> Path:
    """Put a head for these labels on a sentence encoder and save both in a folder of their own."""
    import torch  # noqa: PLC0415  (only where it is measured)
    from transformers import (  # noqa: PLC0415
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    from nlp.loading import quiet  # noqa: PLC0415

    auto: Any = AutoModelForSequenceClassification
    with quiet():
        config = AutoConfig.from_pretrained(
            encoder,
            id2label=dict(enumerate(labels)),
            label2id={label: place for place, label in enumerate(labels)},
        )
        model = auto.from_pretrained(encoder, config=config, dtype=torch.float32)
        torch.manual_seed(_SEED)
        model.classifier.weight.data.normal_(std=_SPREAD)
        model.save_pretrained(folder)
        tokenizer: Any = AutoTokenizer.from_pretrained(encoder)
        tokenizer.model_max_length = MAX_TOKENS
        tokenizer.save_pretrained(folder)
    limit = encoder / "sentence_bert_config.json"
    if limit.exists():
        shutil.copy(limit, folder)
    return folder
