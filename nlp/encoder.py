"""Encoders: texts to logits of a trained head, or to sentence embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import REFERENCE, LoadOptions
from nlp.batching import is_device_lost, is_out_of_memory
from nlp.encoders.agreement import embeddings_disagree, sample, scores_disagree, tolerance_of
from nlp.encoders.packed import PackedEncoder
from nlp.encoders.pooling import Pooling, pooling_of, sentence_limit
from nlp.encoders.tokenizing import TextTokenizer, Tokens
from nlp.encoders.ways import OpenVinoWay, PackedWay, PaddedWay, Way
from nlp.heads import head_over
from nlp.loading import (
    TorchModel,
    load_config,
    load_tokenizer,
    load_weights,
    max_positions,
    max_tokens_of,
)
from nlp.precision import compute_dtype, dtype_name

log = structlog.get_logger(__name__)

#: Tokens kept of a text when neither model nor tokenizer has a limit.
_DEFAULT_MAX_TOKENS = 512
#: Where the reference computes, whatever the model's own device.
_HOST = Device(type="cpu", name="cpu")


class EncoderModel(TorchModel):
    """A loaded encoder, with or without a classification head.

    There may be several ways of computing it. Before the first rows they are compared with plain transformers in
    fp32, the quickest first, and the first that agrees is used from then on.
    """

    def __init__(
        self,
        model: Any,
        device: Device,
        *,
        tokenizer: TextTokenizer,
        pooling: Pooling | None,
        quick: Sequence[Way],
        padded: PaddedWay,
        reference: Callable[[], PaddedWay],
    ) -> None:
        super().__init__(model, device)
        self.tokenizer = tokenizer
        self.pooling = pooling  #: how embeddings are made; None when there is a head
        self._padded = padded
        self._ways = [*quick, padded]  #: those that may still be used, the best first
        self._reference = reference
        self._settled = False
        self._fallbacks: list[str] = []

    @classmethod
    def load(cls, files: Path, how: LoadOptions) -> EncoderModel:
        """Load a model with a trained classification head, or an encoder that embeds.

        Raises:
            JobFailure: ``model_unsupported``, it is neither; ``engine_unsupported``, the engine that is asked for
                cannot run it.
        """
        config = load_config(files)
        tokenizer = load_tokenizer(files)
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise JobFailure("model_unsupported", "The model has no tokenizer.json.")
        may_miss: tuple[str, ...] = ()
        auto_class: Any = AutoModelForSequenceClassification
        pooling = None
        if not has_head(config) and is_encoder(config):
            pooling = pooling_of(files)
            auto_class, may_miss = AutoModel, ("pooler.",)
        elif not has_head(config):
            found = ", ".join(config.architectures or ["none named"])
            raise JobFailure(
                "model_unsupported",
                f"Expected a sequence-classification model or a sentence encoder, found {found}.",
            )
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        types = "token_type_ids" in tokenizer.model_input_names

        def load(device: Device, dtype: torch.dtype) -> Any:
            return load_weights(auto_class, files, config, device, dtype, may_miss=may_miss)

        def padded(model: Any) -> PaddedWay:
            return PaddedWay(model, pad_id, takes_types=types, pooling=pooling)

        dtype = compute_dtype(how.device, how.precision)
        converted = how.engine == "openvino"
        if converted and how.device.type != "cpu":
            raise JobFailure("engine_unsupported", "OpenVINO computes on processors only.")
        model = load(how.device, torch.float32 if converted else dtype)
        quick: list[Way] = []
        if converted:
            way = OpenVinoWay(model, pad_id, dtype, takes_types=types, pooling=pooling)
            quick.append(way)
        elif how.engine != REFERENCE:
            packed = PackedEncoder.of(model, pad_id, takes_types=types)
            if packed is not None:
                quick.append(PackedWay(packed, dtype, pooling=pooling))
        max_tokens = reading_limit(files, model, tokenizer)
        own = model.dtype == torch.float32 and how.device.type == "cpu"
        return cls(
            model,
            how.device,
            tokenizer=TextTokenizer(tokenizer, max_tokens),
            pooling=pooling,
            quick=quick,
            padded=padded(model),
            reference=lambda: padded(model if own else load(_HOST, torch.float32)),
        )

    def adapted(self, adapter: Path, files: Path) -> EncoderModel:
        twin, loaded = self._adapted(adapter)
        if loaded.own:
            twin._model = head_over(self._model, loaded.own, adapter, files)  # noqa: SLF001
            twin.pooling = None
        # Only transformers' own layers, in one of their formats, know of adapters.
        twin._ways = [self._padded.around(twin._model, twin.pooling)]  # noqa: SLF001
        twin._settled, twin._fallbacks = True, []  # noqa: SLF001
        return twin

    @property
    def way(self) -> Way:
        """How vectors are computed: plainly until :meth:`settle` knows better."""
        return self._ways[0] if self._settled else self._ways[-1]

    @property
    def memory_bytes(self) -> int:
        # A converted model keeps weights of its own beside those it was made from.
        return super().memory_bytes * (2 if self._ways[0].engine == "openvino" else 1)

    def describe(self) -> Mapping[str, Any]:
        way = self._ways[0]
        return {
            **super().describe(),
            "engine": way.engine,
            "precision": dtype_name(way.dtype),
            "path": way.path,
            "fallbacks": list(self._fallbacks),
        }

    def settle(self, rows: Sequence[Tokens]) -> None:
        """Before the first rows: the first of the ways that agrees with plain transformers on some of them.

        Padded rows in fp32 need no proof; where nothing else agrees, they are computed. Does nothing once that is
        known.
        """
        if self._settled or not rows:
            return
        if len(self._ways) > 1 or self._ways[0].dtype != torch.float32:
            chosen = [rows[position] for position in sample([len(row) for row in rows])]
            try:
                self._choose(chosen)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                return  # the next rows may be shorter; until then these are padded
        self._settled = True

    def _choose(self, rows: Sequence[Tokens]) -> None:
        reference = self._reference()
        expected = torch.cat([reference.vectors([row]) for row in rows])
        while True:
            way = self._ways[0]
            if (way.path, way.dtype) == ("padded", torch.float32) and way.engine == "torch":
                return
            wrong = self._disagreement(way, rows, expected)
            if wrong is None:
                return
            self._fallbacks.append(
                f"{way.engine}, {way.path} rows in {dtype_name(way.dtype)}: {wrong}"
            )
            log.warning("refused", way=self._fallbacks[-1], architecture=type(self._model).__name__)
            del self._ways[0]
            if not self._ways:
                self._model = reference.model.to(self._device)
                self._ways = [reference]

    def _disagreement(self, way: Way, rows: Sequence[Tokens], expected: Tensor) -> str | None:
        try:
            found = way.vectors(rows)
        except RuntimeError as error:
            # Kernels raise it about shapes and formats that they do not take.
            if is_out_of_memory(error) or is_device_lost(error):
                raise
            return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        tolerance = tolerance_of(way.dtype)
        if self.pooling is not None:
            return embeddings_disagree(found, expected, tolerance)
        if self.config.problem_type == "multi_label_classification":
            return scores_disagree(found.sigmoid(), expected.sigmoid(), tolerance)
        return scores_disagree(found.softmax(dim=1), expected.softmax(dim=1), tolerance)


def finite_rows(values: Tensor) -> list[bool]:
    """For each row of ``[rows, n]``, whether all of its numbers are finite."""
    rows: list[bool] = torch.isfinite(values).all(dim=1).tolist()
    return rows


def reading_limit(files: Path, model: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that a model can read of a text, special ones included."""
    limits = [max_positions(model.config, model), max_tokens_of(tokenizer), sentence_limit(files)]
    return min((limit for limit in limits if limit), default=_DEFAULT_MAX_TOKENS)


def has_head(config: PretrainedConfig) -> bool:
    """Whether it is of a model that was trained to classify."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or [])


def is_encoder(config: PretrainedConfig) -> bool:
    """Whether it is of an encoder without a head, or with one for masked words."""
    names = config.architectures or []
    fits = any(name.endswith(("Model", "ForMaskedLM")) for name in names)
    return fits and not config.is_encoder_decoder and not getattr(config, "is_decoder", False)
