"""Small models of many families with random weights, and plain ``generate`` to compare with."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
)

from jobs.rows import RowFailure
from nlp.generation.decoding import Decoding, Prompt, Written
from tests.unit.nlp.tinymodels import save_tokenizer

#: Tokens that end an answer: so many that answers of random models end anywhere.
ENDS = [4, *range(30, 60)]

_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
#: Families that can write continuously, with what makes them different.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _COMMON,
    "mistral": {**_COMMON, "sliding_window": 12},
    "qwen2": _COMMON,
    "qwen3": {**_COMMON, "head_dim": 16},
    "gemma": {**_COMMON, "head_dim": 8},
    "gemma3_text": {
        **_COMMON,
        "head_dim": 8,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi3": _COMMON,
    "olmo2": _COMMON,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.3},
    "gpt_neox": {key: value for key, value in _COMMON.items() if key != "num_key_value_heads"},
}
#: Families that need something else than plain attention over what came before.
OTHERS: dict[str, dict[str, Any]] = {
    "gemma2": {**_COMMON, "head_dim": 8, "attn_logit_softcapping": 30.0},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": 0.3},
}

_BART: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "init_std": 0.3,
    "forced_eos_token_id": None,
    "decoder_start_token_id": 4,
}
_T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "initializer_factor": 2.0,
    "decoder_start_token_id": 0,
}
#: Families that read with one half and write with the other.
ENCODER_DECODERS: dict[str, dict[str, Any]] = {
    "bart": _BART,
    "pegasus": _BART,
    "mbart": _BART,
    "led": {
        **{name: fact for name, fact in _BART.items() if name != "max_position_embeddings"},
        "max_encoder_position_embeddings": 128,
        "max_decoder_position_embeddings": 64,
        "attention_window": 16,
    },
    "t5": _T5,
    "mt5": _T5,
    "longt5": {**_T5, "local_radius": 15},
}


def save_writer(folder: Path, family: str, **own: Any) -> Path:
    """A model of this family; ``own`` goes into its generation configuration."""
    size = save_tokenizer(folder, max_length=256, chat=True)
    facts = {**FAMILIES, **OTHERS, **ENCODER_DECODERS}[family]
    config = AutoConfig.for_model(
        family, vocab_size=size, bos_token_id=1, eos_token_id=4, pad_token_id=0, **facts
    )
    torch.manual_seed(3)
    model = _auto_class(family).from_config(config)
    generation: Any = GenerationConfig
    model.generation_config = generation(
        eos_token_id=ENDS,
        pad_token_id=0,
        decoder_start_token_id=facts.get("decoder_start_token_id"),
        **own,
    )
    model.save_pretrained(folder)
    return folder


def some_prompts(count: int, **decoding: Any) -> list[Prompt]:
    """Prompts of many lengths with a common beginning, each with a limit of its own."""
    choose = random.Random(5)
    start = [choose.randrange(60, 320) for _ in range(11)]
    return [
        Prompt(
            start + [choose.randrange(60, 320) for _ in range(choose.choice([1, 3, 14, 40]))],
            Decoding(**({"max_tokens": choose.choice([1, 7, 20, 30])} | decoding)),
        )
        for _ in range(count)
    ]


def plainly(folder: Path, prompts: Sequence[Prompt], **more: Any) -> list[list[int]]:
    """What fp32 transformers writes for each prompt by itself, likeliest tokens only."""
    family = json.loads((folder / "config.json").read_text())["model_type"]
    model = _auto_class(family).from_pretrained(folder, dtype=torch.float32)
    written = []
    for prompt in prompts:
        ids = torch.tensor([prompt.ids])
        if family == "led":
            more["global_attention_mask"] = (torch.arange(len(prompt)) == 0).long().unsqueeze(0)
        with torch.inference_mode():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=prompt.decoding.max_tokens,
                **more,
            )
        answer = made[0, 1 if family in ENCODER_DECODERS else len(prompt) :].tolist()
        end = next((place for place, token in enumerate(answer) if token in ENDS), None)
        written.append(answer[:end])
    return written


def _auto_class(family: str) -> Any:
    return AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else AutoModelForCausalLM


def ids_of(made: Sequence[Written | RowFailure]) -> list[list[int]]:
    """The tokens of answers of which none failed."""
    assert all(isinstance(answer, Written) for answer in made), made
    return [answer.ids for answer in made if isinstance(answer, Written)]
