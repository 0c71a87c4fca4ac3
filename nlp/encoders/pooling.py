"""How an encoder's states become one vector a text, as sentence-transformers writes it down."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jobs.errors import JobFailure
from nlp.files import read_json

Pooling = Literal["mean", "cls"]


def pooling_of(files: Path) -> Pooling:
    """How sentence-transformers pools, from its ``modules.json``; the mean where there is no such file.

    Its Normalize step needs no reading: embeddings are compared by angle only.
    """
    modules = read_json(files / "modules.json") or []
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise JobFailure(
            "model_unsupported", f"The encoder has steps that are not supported: {unknown}."
        )
    path = next((module["path"] for module in modules if "Pooling" in module["type"]), "1_Pooling")
    facts = read_json(files / path / "config.json") or {"pooling_mode_mean_tokens": True}
    modes = {name for name, on in facts.items() if name.startswith("pooling_mode_") and on is True}
    if modes == {"pooling_mode_mean_tokens"} or facts.get("pooling_mode") == "mean":
        return "mean"
    if modes == {"pooling_mode_cls_token"} or facts.get("pooling_mode") == "cls":
        return "cls"
    raise JobFailure(
        "model_unsupported", f"Expected mean or cls pooling, found {', '.join(sorted(modes))}."
    )


def sentence_limit(files: Path) -> int | None:
    """The length that sentence-transformers cuts texts to, or None where it says none."""
    facts = read_json(files / "sentence_bert_config.json") or {}
    limit = facts.get("max_seq_length")
    return limit if isinstance(limit, int) and limit > 0 else None
