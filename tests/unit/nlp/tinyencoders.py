"""Small encoders of many families with random weights, spread wide enough that scores differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from tests.unit.nlp.tinymodels import save_tokenizer

#: Families that are computed without padding, ...
PACKED = ("albert", "bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
#: ... and some that are not.
PADDED = ("deberta-v2", "modernbert", "mpnet")

#: Positions that a model has beside those of a text, where it counts from behind the padding token's.
_EXTRA = {"camembert": 1, "roberta": 1, "xlm-roberta": 1, "mpnet": 2}

_SPECIFIC: Mapping[str, Mapping[str, Any]] = {
    "albert": {"embedding_size": 16, "num_hidden_groups": 2, "num_hidden_layers": 4},
    "electra": {"embedding_size": 16},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 16,
        "max_relative_positions": 64,
        "pooler_hidden_size": 32,
    },
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8, "cls_token_id": 1},
}


def save_encoder(
    folder: Path, family: str, labels: Sequence[str] | None = None, **facts: Any
) -> Path:
    """A model of this family, with a head for these labels or without any."""
    folder.mkdir(parents=True)
    size = save_tokenizer(folder, max_length=64, bert=family in {"bert", "albert", "electra"})
    common: dict[str, Any] = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64 + _EXTRA.get(family, 0),
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "type_vocab_size": 2 if family in {"bert", "albert", "electra"} else 1,
    }
    if family in {"deberta-v2", "modernbert", "mpnet", "distilbert"}:
        del common["type_vocab_size"]
    if labels is not None:
        common["id2label"] = dict(enumerate(labels))
        common["label2id"] = {label: place for place, label in enumerate(labels)}
    if family == "distilbert":
        for name in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
        ):
            del common[name]
    torch.manual_seed(5)
    config = AutoConfig.for_model(family, **{**common, **_SPECIFIC.get(family, {}), **facts})
    auto: Any = AutoModel if labels is None else AutoModelForSequenceClassification
    model = auto.from_config(config).eval()
    for name, weight in model.named_parameters():
        # As after training: norms and biases are not all ones and zeros, so that each of them matters.
        if "bias" in name or "norm" in name.lower():
            weight.data += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder)
    return folder
