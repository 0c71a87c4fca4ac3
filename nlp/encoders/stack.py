"""The weights of an encoder of the BERT family, whatever transformers calls them.

These have a block in common: attention, then a feed-forward part, each added to its input and then normalized
("post-norm"). They differ in names, in how positions are counted and in the head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import GELUActivation

#: Logits ``[rows, classes]`` of the states ``[rows, size]`` of each row's first token.
Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer; ``weight`` is ``[out, in]``."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalization over the last dimension."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Layer:
    """One block. ``qkv`` gives queries, keys and values side by side, each ``[heads, head size]``."""

    qkv: Dense
    out: Dense
    attention_norm: Norm
    up: Dense
    activation: Callable[[Tensor], Tensor]
    down: Dense
    norm: Norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A whole encoder."""

    words: Tensor  #: ``[vocabulary, size]``
    positions: Tensor  #: ``[positions, size]``
    types: Tensor | None  #: ``[types, size]``
    embedding_norm: Norm
    projection: Dense | None  #: from the size of embeddings to that of states
    layers: tuple[Layer, ...]
    heads: int
    #: Positions are counted from here, ...
    first_position: int
    #: ... and a padding token inside a text has this one and is not counted; None where it counts like any other.
    pad_position: int | None
    head: Head | None


def read_stack(model: Any) -> Stack | None:
    """The weights of a transformers model, or None where it is not one of the known families.

    The model keeps working: queries, keys and values are laid side by side once, and its own weights become
    views of that.
    """
    config = model.config
    read = _FAMILIES.get(config.model_type)
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    if read is None or not absolute or getattr(config, "is_decoder", False):
        return None
    return read(model)


def _bert(model: Any) -> Stack:
    """BERT, RoBERTa, XLM-R, CamemBERT and ELECTRA, which share names up to the head."""
    base = model.base_model
    embeddings, config = base.embeddings, model.config
    pad = embeddings.position_embeddings.padding_idx
    project = getattr(base, "embeddings_project", None)
    return Stack(
        words=embeddings.word_embeddings.weight,
        positions=embeddings.position_embeddings.weight,
        types=embeddings.token_type_embeddings.weight,
        embedding_norm=_norm(embeddings.LayerNorm),
        projection=None if project is None else _dense(project),
        layers=tuple(
            Layer(
                qkv=_fuse(
                    layer.attention.self.query, layer.attention.self.key, layer.attention.self.value
                ),
                out=_dense(layer.attention.output.dense),
                attention_norm=_norm(layer.attention.output.LayerNorm),
                up=_dense(layer.intermediate.dense),
                activation=_activation(layer.intermediate.intermediate_act_fn),
                down=_dense(layer.output.dense),
                norm=_norm(layer.output.LayerNorm),
            )
            for layer in base.encoder.layer
        ),
        heads=config.num_attention_heads,
        first_position=0 if pad is None else pad + 1,
        pad_position=pad,
        head=_head_of(model, base),
    )


def _head_of(model: Any, base: Any) -> Head | None:
    classifier = getattr(model, "classifier", None)
    if classifier is None:
        return None
    if isinstance(classifier, nn.Linear):  # BERT: behind the pooler
        return lambda first: classifier(base.pooler(first[:, None]))
    return lambda first: classifier(first[:, None])


def _distilbert(model: Any) -> Stack:
    base, config = model.base_model, model.config
    embeddings = base.embeddings
    head: Head | None = None
    if hasattr(model, "pre_classifier"):
        head = lambda first: model.classifier(model.pre_classifier(first).relu())  # noqa: E731
    return Stack(
        words=embeddings.word_embeddings.weight,
        positions=embeddings.position_embeddings.weight,
        types=None,
        embedding_norm=_norm(embeddings.LayerNorm),
        projection=None,
        layers=tuple(
            Layer(
                qkv=_fuse(layer.attention.q_lin, layer.attention.k_lin, layer.attention.v_lin),
                out=_dense(layer.attention.out_lin),
                attention_norm=_norm(layer.sa_layer_norm),
                up=_dense(layer.ffn.lin1),
                activation=_activation(layer.ffn.activation),
                down=_dense(layer.ffn.lin2),
                norm=_norm(layer.output_layer_norm),
            )
            for layer in base.transformer.layer
        ),
        heads=config.n_heads,
        first_position=0,
        pad_position=None,
        head=head,
    )


def _albert(model: Any) -> Stack:
    base, config = model.base_model, model.config
    embeddings, encoder = base.embeddings, base.encoder
    groups = [
        tuple(
            Layer(
                qkv=_fuse(layer.attention.query, layer.attention.key, layer.attention.value),
                out=_dense(layer.attention.dense),
                attention_norm=_norm(layer.attention.LayerNorm),
                up=_dense(layer.ffn),
                activation=_activation(layer.activation),
                down=_dense(layer.ffn_output),
                norm=_norm(layer.full_layer_layer_norm),
            )
            for layer in group.albert_layers
        )
        for group in encoder.albert_layer_groups
    ]
    per_group = config.num_hidden_layers / config.num_hidden_groups
    head: Head | None = None
    if hasattr(model, "classifier"):
        head = lambda first: model.classifier(base.pooler(first).tanh())  # noqa: E731
    return Stack(
        words=embeddings.word_embeddings.weight,
        positions=embeddings.position_embeddings.weight,
        types=embeddings.token_type_embeddings.weight,
        embedding_norm=_norm(embeddings.LayerNorm),
        projection=_dense(encoder.embedding_hidden_mapping_in),
        layers=tuple(
            layer
            for place in range(config.num_hidden_layers)
            for layer in groups[int(place / per_group)]
        ),
        heads=config.num_attention_heads,
        first_position=0,
        pad_position=None,
        head=head,
    )


_FAMILIES: Mapping[str, Callable[[Any], Stack]] = {
    "albert": _albert,
    "bert": _bert,
    "camembert": _bert,
    "distilbert": _distilbert,
    "electra": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
}


def _dense(module: nn.Linear) -> Dense:
    return Dense(module.weight.detach(), module.bias.detach())


def _norm(module: nn.LayerNorm) -> Norm:
    return Norm(module.weight.detach(), module.bias.detach(), module.eps)


def _fuse(*modules: nn.Linear) -> Dense:
    """Linear layers over the same input as one; the modules' own weights become views of it."""
    weight = torch.cat([module.weight.detach() for module in modules])
    bias = torch.cat([module.bias.detach() for module in modules])
    start = 0
    for module in modules:
        end = start + module.out_features
        module.weight = nn.Parameter(weight[start:end], requires_grad=False)
        module.bias = nn.Parameter(bias[start:end], requires_grad=False)
        start = end
    return Dense(weight, bias)


def _activation(module: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same function, computed in place where torch can: its input is the widest tensor of all."""
    exact = isinstance(module, nn.GELU) and module.approximate == "none"
    if exact or (isinstance(module, GELUActivation) and module.act is functional.gelu):
        in_place: Callable[[Tensor], Tensor] = torch.ops.aten.gelu_.default
        return in_place
    return module
