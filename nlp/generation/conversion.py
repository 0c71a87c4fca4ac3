"""From safetensors to CTranslate2's format: offline, without pickles, foreign code or a tokenizer.

CTranslate2's own converter knows the layers of each architecture; loading the weights, the settings on which
transformers and CTranslate2 differ, and the vocabulary are ours. The vocabulary is that of token ids as decimal
text, so that ids go in and come out and no tokenizer's peculiarities matter.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ctranslate2.converters import transformers as architectures
from ctranslate2.specs.model_spec import OPTIONAL
from filelock import FileLock
from transformers import PretrainedConfig

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import LoadOptions
from nlp.engines.conversions import conversion_folder
from nlp.generation.checkpoint import Checkpoint
from nlp.loading import load_weights

#: Raised when what we convert changes in a way that makes earlier conversions wrong.
_REVISION = 1

#: Where layers are normalized, by model type: (before a block, the sum of embeddings). Configurations of
#: transformers 5 do not say it any more.
_NORMALIZED = {
    "bart": (False, True),
    "marian": (False, False),
    "m2m_100": (True, False),
    "mbart": (True, True),
    "pegasus": (True, False),
}

#: Model types that are converted; each is compared with transformers in the tests.
CONVERTIBLE = frozenset({*_NORMALIZED, "t5", "mt5", "llama", "qwen2", "qwen3"})

#: Types that overflow in fp16 (https://github.com/huggingface/transformers/issues/9295).
_NEVER_FP16 = frozenset({"t5", "mt5"})

#: Decoders, which rounding to int8 costs more than it may, though a check of a few rows does not show it: SmolLM2
#: summarized 100 descriptions 1.9 points of chrF and 1.2 of ROUGE-L worse.
_SELDOM_INT8 = frozenset({"llama", "qwen2", "qwen3"})

#: CTranslate2's names of formats, by type of device and our own.
_FORMATS = {
    "cpu": {"auto": "int8_float32", "int8": "int8_float32", "fp32": "float32", "exact": "float32"},
    "cuda": {
        "auto": "float16",
        "fp16": "float16",
        "bf16": "bfloat16",
        "int8": "int8_float16",
        "fp32": "float32",
        "exact": "float32",
    },
}


def compute_type(model_type: str, how: LoadOptions) -> str:
    """CTranslate2's name of the format to compute in.

    Raises:
        JobFailure: ``engine_unsupported``, the device cannot compute in it.
    """
    found = _FORMATS[how.device.type].get(how.precision)
    if found is None:
        raise JobFailure(
            "engine_unsupported",
            f"CTranslate2 does not compute in {how.precision} on {how.device.name}.",
            field="params.engine",
        )
    if how.precision == "auto" and found == "int8_float32" and model_type in _SELDOM_INT8:
        return "float32"
    if model_type in _NEVER_FP16 and how.device.type == "cuda":
        return {"float16": "bfloat16", "int8_float16": "int8_bfloat16"}.get(found, found)
    return found


def name_for(model_type: str, how: LoadOptions) -> str | None:
    """Name of the conversion of such a model, by everything beside its files that it depends on."""
    if model_type not in CONVERTIBLE:
        return None
    return f"ctranslate2-{version('ctranslate2')}-{_REVISION}-{compute_type(model_type, how)}"


@contextmanager
def converted(checkpoint: Checkpoint, how: LoadOptions) -> Iterator[Path]:
    """The model in CTranslate2's format: found in ``how.conversions``, or made and left there.

    Raises:
        JobFailure: ``engine_unsupported``, CTranslate2 knows no such model; or as loading its weights says.
    """
    model_type = checkpoint.config.model_type
    name = name_for(model_type, how)
    if name is None:
        raise JobFailure(
            "engine_unsupported",
            f"CTranslate2 is not used for models of type {model_type}.",
            field="params.engine",
        )
    weights = compute_type(model_type, how)
    if how.conversions is None:
        with tempfile.TemporaryDirectory(prefix="textmill-conversion-") as folder:
            _convert(checkpoint, weights, Path(folder))
            yield Path(folder)
        return
    target = conversion_folder(how.conversions, checkpoint.files, name)
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_dir():
                scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
                try:
                    _convert(checkpoint, weights, scratch)
                    scratch.rename(target)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
    yield target


def _convert(checkpoint: Checkpoint, weights: str, target: Path) -> None:
    config = checkpoint.config
    host = Device(type="cpu", name="cpu")
    model = load_weights(checkpoint.auto_class, checkpoint.files, config, host, torch.float32)
    size = model.get_output_embeddings().weight.shape[0]
    ids = [str(number) for number in range(size)]
    try:
        with torch.no_grad():
            spec = _spec(model)
            facts = spec.config
            facts.unk_token = _unused(checkpoint, ids)
            facts.bos_token = facts.eos_token = str(min(checkpoint.ends, default=0))
            if checkpoint.is_seq2seq:
                facts.decoder_start_token = str(checkpoint.start)
                spec.register_source_vocabulary(ids)
                spec.register_target_vocabulary(ids)
            else:
                spec.register_vocabulary(ids)
            spec.validate()
            spec.optimize(quantization=weights)
            spec.save(str(target))
    except (NotImplementedError, AttributeError, KeyError, ValueError) as error:
        raise JobFailure(
            "engine_unsupported",
            f"The model cannot be converted for CTranslate2: {error}",
            field="params.engine",
        ) from error


def _unused(checkpoint: Checkpoint, ids: list[str]) -> str:
    """CTranslate2 wants to be told an unknown token; with a vocabulary of ids nothing is unknown."""
    unknown = checkpoint.tokenizer.unk_token_id
    return str(unknown) if isinstance(unknown, int) and unknown < len(ids) else ids[-1]


def _spec(model: Any) -> Any:
    config: PretrainedConfig = model.config
    library: Any = architectures
    loader = library._MODEL_LOADERS[type(config).__name__]  # noqa: SLF001  (there is no public way to one)
    if config.model_type in _NORMALIZED:
        facts: Any = config
        facts.normalize_before, facts.normalize_embedding = _NORMALIZED[config.model_type]
    if config.model_type == "marian":
        # Its own loader drops the padding token's row and starts from zeros instead, which is right only while
        # that row is zero. Training ties it to the output layer; so start from the row itself, whatever it holds.
        spec = library.BartLoader.get_model_spec(loader, model)
        spec.decoder.start_from_zero_embedding = False
    else:
        spec = loader.get_model_spec(model)
    if config.model_type == "m2m_100":
        # Positions begin behind the padding token's id; the loader takes that to be 1.
        for half, module in (("encoder", model.model.encoder), ("decoder", model.model.decoder)):
            table = module.embed_positions
            getattr(spec, half).position_encodings.encodings = table.weights[
                table.padding_idx + 1 :
            ]
    if config.model_type in {"t5", "mt5"}:
        scaled = config.model_type == "t5" and config.scale_decoder_outputs
        spec.decoder.scale_outputs = config.d_model**-0.5 if scaled else OPTIONAL
    if not config.is_encoder_decoder:
        spec.config.layer_norm_epsilon = config.rms_norm_eps
    return spec
