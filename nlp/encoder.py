"""Encoders: texts to logits of a trained head, or to sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import LoadOptions
from nlp.files import read_json
from nlp.heads import head_over
from nlp.loading import (
    TorchModel,
    load_config,
    load_tokenizer,
    load_weights,
    max_positions,
    max_tokens_of,
)
from nlp.precision import compute_dtype

Pooling = Literal["mean", "cls"]

#: Tokens kept of a text when neither model nor tokenizer has a limit.
_DEFAULT_MAX_TOKENS = 512
#: Characters read of a text for each token that the model can take. A token of real text has under ten;
#: this only keeps a huge text from being tokenized whole in order to throw nearly all of it away.
_CHARACTERS_PER_TOKEN = 64


@dataclass(frozen=True, slots=True)
class Tokens:
    """One tokenized sequence, special tokens included."""

    ids: list[int]
    type_ids: list[int]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.ids)


class EncoderModel(TorchModel):
    """A loaded encoder, with or without a classification head."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        device: Device,
        *,
        pooling: Pooling | None,
        max_tokens: int,
    ) -> None:
        super().__init__(model, device)
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._takes_types = "token_type_ids" in tokenizer.model_input_names
        # A tokenizer of our own, set up once: the one inside transformers changes with every call.
        backend = cast(Tokenizer, tokenizer.backend_tokenizer)
        self._tokenizer = Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, strategy="only_first")
        self._parts = Tokenizer.from_str(backend.to_str())
        self._parts.no_padding()
        self._parts.enable_truncation(max_tokens)
        self.pooling = pooling  #: how embeddings are made; None when there is a head
        self.max_tokens = max_tokens

    @classmethod
    def load(cls, files: Path, how: LoadOptions) -> EncoderModel:
        """Load a model with a trained classification head, or an encoder that embeds.

        Raises:
            JobFailure: ``model_unsupported``, it is neither.
        """
        config = load_config(files)
        tokenizer = load_tokenizer(files)
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise JobFailure("model_unsupported", "The model has no tokenizer.json.")
        dtype = compute_dtype(how.device, how.precision)
        if _has_head(config):
            pooling = None
            model = load_weights(
                AutoModelForSequenceClassification, files, config, how.device, dtype
            )
        elif _is_encoder(config):
            pooling = _pooling(files)
            model = load_weights(AutoModel, files, config, how.device, dtype, may_miss=("pooler.",))
        else:
            found = ", ".join(config.architectures or ["none named"])
            raise JobFailure(
                "model_unsupported",
                f"Expected a sequence-classification model or a sentence encoder, found {found}.",
            )
        limits = [max_positions(config, model), max_tokens_of(tokenizer), _sentence_limit(files)]
        max_tokens = min((limit for limit in limits if limit), default=_DEFAULT_MAX_TOKENS)
        return cls(model, tokenizer, how.device, pooling=pooling, max_tokens=max_tokens)

    def adapted(self, adapter: Path, files: Path) -> EncoderModel:
        twin, loaded = self._adapted(adapter)
        if loaded.own:
            twin._model = head_over(self._model, loaded.own, adapter, files)  # noqa: SLF001
            twin.pooling = None
        return twin

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Each text as the model reads it, cut to ``max_tokens``."""
        limit = self.max_tokens * _CHARACTERS_PER_TOKEN
        encodings = self._tokenizer.encode_batch_fast([text[:limit] for text in texts])
        return [
            _tokens(encoding, cut=len(text) > limit)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def tokenize_parts(self, texts: Sequence[str]) -> list[Encoding]:
        """Texts as halves of pairs, without special tokens; for :meth:`pair`."""
        limit = self.max_tokens * _CHARACTERS_PER_TOKEN
        cut = [text[:limit] for text in texts]
        encodings: list[Encoding] = self._parts.encode_batch_fast(cut, add_special_tokens=False)
        return encodings

    def pair_length(self, first: Encoding, second: Encoding) -> int:
        """Length of the pair once joined, at most ``max_tokens``."""
        extra = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        return min(len(first) + len(second) + extra, self.max_tokens)

    def pair(self, first: Encoding, second: Encoding) -> Tokens:
        """Two halves as the model reads them; ``first`` gives way where both are too long."""
        joined = _tokens(self._tokenizer.post_process(first, second), cut=bool(first.overflowing))
        extra = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        cut = joined.truncated or len(first) + len(second) + extra > self.max_tokens
        return Tokens(joined.ids, joined.type_ids, cut)

    def logits(self, batch: Sequence[Tokens]) -> Tensor:
        """The head's logits: ``[rows, classes]``, fp32, on the CPU."""
        inputs = self._inputs(batch)
        with torch.inference_mode():
            return cast(Tensor, self._model(**inputs).logits).float().cpu()

    def embed(self, batch: Sequence[Tokens]) -> Tensor:
        """Embeddings of unit length: ``[rows, size]``, fp32, on the CPU."""
        inputs = self._inputs(batch)
        mask = inputs.get("attention_mask")
        with torch.inference_mode():
            states = cast(Tensor, self._model(**inputs).last_hidden_state).float()
            pooled = states[:, 0] if self.pooling == "cls" else _mean(states, mask)
            return torch.nn.functional.normalize(pooled, dim=1).cpu()

    def _inputs(self, batch: Sequence[Tokens]) -> dict[str, Tensor]:
        """Tensors ``[rows, longest]``, padded on the right; no mask where nothing is padded."""
        longest = max(len(row) for row in batch)
        pads = [longest - len(row) for row in batch]
        inputs = {
            "input_ids": torch.tensor(
                [row.ids + [self._pad_id] * pad for row, pad in zip(batch, pads, strict=True)]
            )
        }
        if self._takes_types:
            inputs["token_type_ids"] = torch.tensor(
                [row.type_ids + [0] * pad for row, pad in zip(batch, pads, strict=True)]
            )
        if any(pads):
            inputs["attention_mask"] = torch.tensor(
                [[1] * len(row) + [0] * pad for row, pad in zip(batch, pads, strict=True)]
            )
        return {name: tensor.to(self._device) for name, tensor in inputs.items()}


def finite_rows(values: Tensor) -> list[bool]:
    """For each row of ``[rows, n]``, whether all of its numbers are finite."""
    rows: list[bool] = torch.isfinite(values).all(dim=1).tolist()
    return rows


def _tokens(encoding: Encoding, *, cut: bool) -> Tokens:
    return Tokens(encoding.ids, encoding.type_ids, cut or bool(encoding.overflowing))


def _mean(states: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the tokens that are not padding."""
    if mask is None:
        return states.mean(dim=1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _has_head(config: PretrainedConfig) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or [])


def _is_encoder(config: PretrainedConfig) -> bool:
    names = config.architectures or []
    fits = any(name.endswith(("Model", "ForMaskedLM")) for name in names)
    return fits and not config.is_encoder_decoder and not getattr(config, "is_decoder", False)


def _pooling(files: Path) -> Pooling:
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


def _sentence_limit(files: Path) -> int | None:
    facts = read_json(files / "sentence_bert_config.json") or {}
    limit = facts.get("max_seq_length")
    return limit if isinstance(limit, int) and limit > 0 else None
