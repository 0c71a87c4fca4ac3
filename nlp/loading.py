"""Loading configurations, tokenizers and weights from a folder, offline, quietly and without foreign code.

The caller sets ``HF_HUB_OFFLINE=1`` before transformers is imported for the first time; see :mod:`nlp`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import LoadedModel
from nlp.adapters import AdaptedBase, Adapter
from nlp.batching import is_out_of_memory
from nlp.files import check_safe, read_json
from nlp.precision import dtype_name

#: What transformers and safetensors raise about files which they cannot use.
LOAD_ERRORS = (
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    ImportError,
    OSError,
    RuntimeError,
    SafetensorError,
)

#: Lengths above this are a tokenizer's way of saying "none".
_NO_LIMIT = 1_000_000


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing advice and progress bars to standard error."""
    control: Any = transformers_logging  # has no types
    verbosity = control.get_verbosity()
    bars = control.is_progress_bar_enabled()
    control.set_verbosity_error()
    control.disable_progress_bar()
    try:
        yield
    finally:
        control.set_verbosity(verbosity)
        if bars:
            control.enable_progress_bar()


def load_config(files: Path) -> PretrainedConfig:
    """The model's configuration.

    Raises:
        JobFailure: ``model_unsafe`` or ``model_not_found`` as :func:`nlp.files.check_safe` says;
            ``model_unsupported`` when the architecture is unknown or needs code of its own.
    """
    check_safe(files)
    facts = read_json(files / "config.json")
    model_type = facts.get("model_type") if isinstance(facts, dict) else None
    if model_type not in CONFIG_MAPPING:
        needs = " and needs code of its own" if facts and "auto_map" in facts else ""
        raise JobFailure(
            "model_unsupported", f"Model type {model_type!r} is unknown to transformers{needs}."
        )
    try:
        with quiet():
            config: PretrainedConfig = AutoConfig.from_pretrained(
                files, local_files_only=True, trust_remote_code=False
            )
    except LOAD_ERRORS as error:
        raise JobFailure("model_unsupported", f"Cannot read config.json: {error}") from error
    return config


def load_tokenizer(files: Path, **options: Any) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises:
        JobFailure: ``model_unsupported``, there is none that works.
    """
    try:
        with quiet(), warnings.catch_warnings():
            # Marian's asks for a normalizer of punctuation which it then does not use.
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                files, local_files_only=True, trust_remote_code=False, **options
            )
    except LOAD_ERRORS as error:
        raise JobFailure("model_unsupported", f"Cannot load the tokenizer: {error}") from error
    return tokenizer


def load_weights(
    auto_class: Any,
    files: Path,
    config: PretrainedConfig,
    device: Device,
    dtype: torch.dtype,
    *,
    may_miss: tuple[str, ...] = (),
    **options: Any,
) -> Any:
    """The model, on its device and in evaluation mode.

    Args:
        auto_class: such as ``AutoModelForSequenceClassification``.
        may_miss: beginnings of names of weights which the caller never uses.
        options: more for ``from_pretrained``.

    Raises:
        JobFailure: ``model_unsupported``, the files do not hold this model, or not all of its weights.
        Exception: the device has no room; :func:`nlp.batching.is_out_of_memory` is true for it.
    """
    try:
        with quiet():
            model, report = auto_class.from_pretrained(
                files,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
    except LOAD_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise JobFailure("model_unsupported", f"Cannot load the model: {error}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(may_miss))
    if missing:
        # transformers fills them with random numbers and goes on.
        raise JobFailure(
            "model_unsupported",
            f"The files lack {len(missing)} of the model's weights, such as {missing[0]}.",
        )
    return model.to(device.torch_name).eval().requires_grad_(requires_grad=False)


def weights_bytes(model: torch.nn.Module) -> int:
    """Bytes that parameters and buffers take; tied weights count once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def max_positions(config: PretrainedConfig, model: torch.nn.Module | None = None) -> int | None:
    """How many positions the model has, or None when it has no fixed number.

    RoBERTa and its kin number positions from ``padding_idx + 1``, so that their table's first rows
    hold no text; to see this takes the model.
    """
    table = next(
        (
            module
            for name, module in (model.named_modules() if model is not None else ())
            if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding)
        ),
        None,
    )
    if table is not None:
        unused = 0 if table.padding_idx is None else table.padding_idx + 1
        return table.num_embeddings - unused
    for name in ("max_position_embeddings", "n_positions"):
        limit = getattr(config, name, None)
        if isinstance(limit, int) and 0 < limit < _NO_LIMIT:
            return limit
    return None


def max_tokens_of(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The length that the tokenizer declares, or None when it declares none."""
    limit = tokenizer.model_max_length
    return int(limit) if 0 < limit < _NO_LIMIT else None


class TorchModel(LoadedModel):
    """A transformers model in memory; base of what the kinds load."""

    def __init__(self, model: Any, device: Device) -> None:
        self._model = model
        self._device = torch.device(device.torch_name)
        self._base: AdaptedBase | None = None  # once there are adapters over it
        self._adapter: Adapter | None = None

    @property
    def memory_bytes(self) -> int:
        if self._adapter is not None:
            return self._adapter.memory_bytes
        return weights_bytes(self._model)

    def describe(self) -> Mapping[str, Any]:
        return {
            "engine": "torch",
            "precision": dtype_name(self._model.dtype),
            "architecture": type(self._model).__name__,
        }

    def activate(self) -> None:
        if self._base is not None:
            self._base.use(self._adapter)

    def _adapted(self, adapter: Path) -> tuple[Self, Adapter]:
        """A twin of this model, which shares its weights, with an adapter over it."""
        if self._base is None:
            self._base = AdaptedBase(self._model)
        loaded = self._base.load(adapter)
        twin = copy.copy(self)
        twin._adapter = loaded  # noqa: SLF001  (a twin's)
        return twin, loaded

    @property
    def config(self) -> PretrainedConfig:
        """The model's configuration."""
        return cast(PretrainedConfig, self._model.config)
