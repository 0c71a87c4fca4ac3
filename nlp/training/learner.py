"""A transformers model that learns, from a base or from scratch, with its files and its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from jobs.errors import JobFailure
from nlp.files import is_adapter
from nlp.loading import load_weights, quiet
from nlp.training.dropout import set_dropout
from nlp.training.lora import save_lora, with_lora
from nlp.training.scratch import is_scratch, keep_scratch, scratch_files
from nlp.training.task import Start

#: Targets that are no tokens, but padding.
IGNORED = -100


def base_files(start: Start) -> Path:
    """Folder of the model to start from, which is made here where none is given.

    Raises:
        JobFailure: ``model_unsupported``, it is no whole model.
    """
    if start.base is None or is_scratch(start.reference):
        return scratch_files(start)
    if is_adapter(start.base):
        raise JobFailure("model_unsupported", "Expected a whole model, found an adapter.")
    return start.base


class Learner:
    """The model in fp32, ready to be trained.

    Args:
        files: folder of the model to start from.
        auto_class: such as ``AutoModelForCausalLM``.
        dropout: while it is trained.
        may_miss: beginnings of names of weights that are made where the files have none.
    """

    def __init__(
        self,
        start: Start,
        files: Path,
        config: PretrainedConfig,
        auto_class: Any,
        dropout: float,
        *,
        may_miss: tuple[str, ...] = (),
    ) -> None:
        self.files = files
        self._start = start
        self._lora = start.params.method == "lora"
        self._own_dropout = set_dropout(config, dropout)
        self.network: Any = load_weights(
            auto_class,
            files,
            config,
            start.device,
            torch.float32,
            may_miss=may_miss,
            # On processors the fused kernel's backward pass is the slower one.
            **({"attn_implementation": "eager"} if start.device.type == "cpu" else {}),
        )  #: the transformers model itself
        self.network.requires_grad_(requires_grad=True)
        #: What is trained: the network, or the network with an adapter in it.
        self.model: Any = with_lora(self.network, start.params) if self._lora else self.network
        tied = self.network.get_output_embeddings()
        if not isinstance(tied, nn.Module):
            raise JobFailure(
                "model_unsupported", "Expected a model with a language-modelling head."
            )
        self._head: nn.Module = tied

    @property
    def is_scratch(self) -> bool:
        """Whether it started from random weights."""
        return is_scratch(self._start.reference)

    def logits(self, inputs: Mapping[str, Any], where: Tensor) -> Tensor:
        """Scores ``[places, vocabulary]`` in fp32 at the places where a mask ``[rows, length]`` is true.

        The head, in small models the most work, is computed for these places alone: what goes into it is chosen.
        """

        def choose(_head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (given[0][where].unsqueeze(0),)

        hook = self._head.register_forward_pre_hook(choose)
        try:
            found: Tensor = self.model(**inputs).logits
        finally:
            hook.remove()
        return found[0].float()

    @contextmanager
    def untuned(self) -> Iterator[Any]:
        """The network as it was before training, in evaluation mode."""
        if self._lora:
            self.model.eval()
            with self.model.disable_adapter():
                yield self.network
            return
        config = type(self.network.config).from_pretrained(self.files, local_files_only=True)
        yield load_weights(
            type(self.network), self.files, config, self._start.device, torch.float32
        )

    def save(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write model and tokenizer, or the adapter alone."""
        config = self.network.config
        for name, share in self._own_dropout.items():
            setattr(config, name, share)
        if self._lora:
            save_lora(self.model, folder, self._start.reference)
            return
        config._name_or_path = ""  # noqa: SLF001  (a folder of the training's own machine)
        with quiet():
            self.network.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    def keep(self, folder: Path) -> None:
        """What a checkpoint must hold of a model from scratch."""
        if self.is_scratch:
            keep_scratch(self.files, folder)


def summed_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Negative log-likelihood in nats, summed over places."""
    return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)


def padded(rows: list[list[int]], pad: int) -> Tensor:
    """Rows of token ids as a tensor ``[rows, longest]``, padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([row + [pad] * (longest - len(row)) for row in rows])


def mask_of(rows: list[list[int]]) -> Tensor:
    """1 for tokens and 0 for padding, ``[rows, longest]``."""
    return padded([[1] * len(row) for row in rows], 0)
