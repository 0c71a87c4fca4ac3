"""Import of GGUF files: quantized weights in one file, turned once into a folder of safetensors."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from jobs.errors import JobFailure
from nlp.loading import LOAD_ERRORS, quiet

#: Leftovers of the file in a configuration: with the first, the saved weights would be taken for packed ones.
_LEFTOVERS = ("quantization_config", "_model_name_or_path", "_name_or_path", "name_or_path")


def import_gguf(gguf: Path, target: Path) -> None:
    """Convert a GGUF decoder model into ``target``: safetensors, configuration, tokenizer, chat template.

    Weights are written in fp32: a quantized weight is a small integer times an fp16 scale plus an fp16
    offset, which bf16 would round. The folder appears whole or not at all; when two processes convert the same
    file, one of the two equal results stays.

    Raises:
        JobFailure: ``model_unsupported``, the file is broken or of an architecture that transformers
            cannot read.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with quiet():
            _convert(gguf, work)
        work.chmod(0o755)
        for path in work.iterdir():
            path.chmod(0o644)
        _move_into_place(work, target)
    except LOAD_ERRORS as error:
        raise JobFailure("model_unsupported", f"Cannot import {gguf.name}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _convert(gguf: Path, folder: Path) -> None:
    source: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
    packed = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
    facts = packed.config.to_dict()
    for name in _LEFTOVERS:
        facts.pop(name, None)
    # A model loaded from GGUF refuses to be saved; a fresh one with the same weights does not.
    config = AutoConfig.for_model(facts.pop("model_type"), **facts)
    with torch.device("meta"):
        auto_class: Any = AutoModelForCausalLM  # has no types
        model = auto_class.from_config(config, dtype=torch.float32)
    model.load_state_dict(packed.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig.from_model_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _move_into_place(work: Path, target: Path) -> None:
    """Rename; a folder that another process put there first is as good."""
    try:
        os.replace(work, target)  # noqa: PTH105  (Path.replace says nothing about folders)
    except OSError:
        if not target.is_dir():
            raise
