"""LoRA adapters as PEFT saves them: what the folder says, checked before any weights are read. Knows no torch.

The format: https://huggingface.co/docs/peft/developer_guides/checkpoint. Which layers an adapter changes is read
off its tensors' names; the patterns in its configuration, which may be regular expressions, are not evaluated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import JobFailure
from nlp.files import ADAPTER_CONFIG, read_json

#: Weights of an adapter.
WEIGHTS = "adapter_model.safetensors"
#: What Textmill itself writes beside the adapters that it makes: ``base``, the pinned reference of the base model.
FACTS = "textmill.json"

#: Fields that matter only while training, or that the tensors' names and shapes say better.
_IGNORED = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
        "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform",
        "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core", "modules_to_save", "peft_type",
        "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "target_modules", "task_type",
    }
)  # fmt: skip
_READ = frozenset({"alpha_pattern", "bias", "init_lora_weights", "lora_alpha", "use_rslora"})
#: Ways to begin training that leave the base model's weights as they are.
_HARMLESS_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What ``adapter_config.json`` says."""

    base: str  #: reference of the model that it was trained on
    revision: str | None  #: of the base, where that comes from a hub
    alpha: float
    alphas: Mapping[str, float]  #: of single layers, by the ends of their names
    rank_stabilized: bool

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig:
        """The configuration of the adapter in this folder.

        Raises:
            JobFailure: ``model_unsupported``, it is no LoRA adapter, or one that changes more than linear layers
                by a product of two matrices; or it names no base.
        """
        facts = read_json(folder / ADAPTER_CONFIG)
        if not isinstance(facts, dict) or facts.get("peft_type") != "LORA":
            found = facts.get("peft_type") if isinstance(facts, dict) else None
            raise _unsupported(f"expected peft_type LORA, found {found!r}")
        more = sorted(
            name for name, value in facts.items() if value and name not in _IGNORED | _READ
        )
        if more:
            raise _unsupported(f"{more[0]} is not supported")
        if facts.get("bias", "none") != "none":
            raise _unsupported(f"expected bias none, found {facts['bias']!r}")
        beginning = facts.get("init_lora_weights")
        if beginning not in _HARMLESS_BEGINNINGS:
            raise _unsupported(
                f"init_lora_weights {beginning!r} also changes the base model; convert the adapter to plain LoRA"
            )
        alphas = facts.get("alpha_pattern") or {}
        if not all(re.fullmatch(r"[\w.]+", name) for name in alphas):
            raise _unsupported("expected names of layers in alpha_pattern, found an expression")
        base, revision = _base(folder, facts)
        try:
            return cls(
                base=base,
                revision=revision,
                alpha=float(facts["lora_alpha"]),
                alphas={str(name): float(value) for name, value in alphas.items()},
                rank_stabilized=bool(facts.get("use_rslora")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unsupported(f"lora_alpha or alpha_pattern is no number ({error})") from None

    def scale(self, layer: str, rank: int) -> float:
        """What the product of a layer's matrices is multiplied by; rank-stabilized: https://arxiv.org/abs/2312.03732."""
        alpha = next(
            (value for end, value in self.alphas.items() if f".{layer}".endswith(f".{end}")),
            self.alpha,
        )
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


def _base(folder: Path, facts: Mapping[str, Any]) -> tuple[str, str | None]:
    own = read_json(folder / FACTS)
    if isinstance(own, dict) and isinstance(own.get("base"), str):
        return own["base"], None
    base, revision = facts.get("base_model_name_or_path"), facts.get("revision")
    if not isinstance(base, str) or not base:
        raise _unsupported("base_model_name_or_path names no model")
    return base, revision if isinstance(revision, str) and revision else None


def _unsupported(reason: str) -> JobFailure:
    return JobFailure(
        "model_unsupported", f"The adapter cannot be used: {ADAPTER_CONFIG}: {reason}."
    )
