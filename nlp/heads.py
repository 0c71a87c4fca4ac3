"""A classification head that came with an adapter, over an encoder that others share."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from jobs.errors import JobFailure
from nlp.files import read_json, weight_names


@dataclass(frozen=True)
class Head:
    """The head that a configuration's model has for classification."""

    names: tuple[str, ...]  #: of its weights
    trunk: str  #: what the names of all other weights begin with
    reads_pooler: bool  #: whether it reads the trunk's pooler, rather than its states

    @classmethod
    def of(cls, config: PretrainedConfig) -> Head:
        """The head of this configuration's model.

        Raises:
            JobFailure: ``model_unsupported``, there is no such model of this architecture.
        """
        model = _model(config)
        return cls(tuple(_head_of(model)), f"{model.base_model_prefix}.", _reads_pooler(model))


def head_over(base: Any, own: Mapping[str, Tensor], adapter: Path, files: Path) -> Any:
    """A sequence-classification model whose trunk is the base's own and whose head is the adapter's.

    Args:
        base: the transformers model that the adapter is for.
        own: the adapter's weights beside the changes of layers, by their names in the model it was trained as.
        adapter: its folder; a ``config.json`` in it says what the labels are called.
        files: the base's folder.

    Raises:
        JobFailure: ``model_unsupported``, these weights are no head for this base.
    """
    config = copy.deepcopy(base.config)
    facts = read_json(adapter / "config.json") or {}
    if "problem_type" in facts:
        config.problem_type = facts["problem_type"]
    model = _model(config)
    wanted = _head_of(model)
    foreign = sorted(set(own) - set(wanted))
    missing = sorted(set(wanted) - set(own))
    if foreign or missing:
        said = (
            f"weights beside the head: {foreign[0]}" if foreign else f"no weights for {missing[0]}"
        )
        raise JobFailure("model_unsupported", f"The adapter cannot be used: it has {said}.")
    # The last matrix of a head has a row for each label.
    count = [own[name].shape[0] for name in wanted if own[name].dim() == 2][-1]
    labels = facts.get("id2label") or config.id2label or {}
    if len(labels) != count:
        labels = {place: f"LABEL_{place}" for place in range(count)}
    config.id2label = {int(place): str(label) for place, label in labels.items()}
    config.label2id = {label: place for place, label in config.id2label.items()}
    model = _model(config)
    for name, expected in _head_of(model).items():
        if own[name].shape != expected.shape:
            raise JobFailure(
                "model_unsupported",
                f"The adapter cannot be used: expected {name} of {tuple(expected.shape)}, "
                f"found {tuple(own[name].shape)}.",
            )
        above, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(above), leaf, nn.Parameter(own[name], requires_grad=False))
    _check_pooler(model, files)
    setattr(model, model.base_model_prefix, base.base_model)
    return model.eval()


def _model(config: PretrainedConfig) -> Any:
    """The model without memory for its weights.

    Raises:
        JobFailure: ``model_unsupported``, there is no such model of this architecture.
    """
    auto_class: Any = AutoModelForSequenceClassification  # has no types
    try:
        with torch.device("meta"):
            return auto_class.from_config(config)
    except ValueError:
        raise JobFailure(
            "model_unsupported",
            f"{config.model_type} models have no head for classification.",
        ) from None


def _head_of(model: Any) -> dict[str, Tensor]:
    trunk = f"{model.base_model_prefix}."
    found: dict[str, Tensor] = dict(model.named_parameters())
    return {name: tensor for name, tensor in found.items() if not name.startswith(trunk)}


def _check_pooler(model: Any, files: Path) -> None:
    """Refuse a head that reads the pooler of a base that was published without one.

    Such a pooler was random when the adapter was trained, and is not among its weights.
    """
    if _reads_pooler(model) and not any("pooler." in name for name in weight_names(files)):
        raise JobFailure(
            "model_unsupported",
            "The adapter cannot be used: its head reads the base's pooler, which the base's files lack.",
        )


def _reads_pooler(model: Any) -> bool:
    return any("pooler." in name for name, _ in model.base_model.named_parameters())
