"""Tiny models of the families that CTranslate2 converts, with random weights that leave no ties.

Weights are drawn wide, so that a token wins clearly, and the closing token gets a push, so that answers end
at different places.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.unit.nlp.tinymodels import save_tokenizer

#: The closing token of the encoder-decoders.
END = 2

_SHAPE: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "init_std": 0.4,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": END,
    "forced_eos_token_id": None,
}  # fmt: skip
_T5: dict[str, Any] = {
    "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "initializer_factor": 2.0,
    "pad_token_id": 0, "eos_token_id": END, "decoder_start_token_id": 0,
}  # fmt: skip
_DECODER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
    "bos_token_id": 1, "eos_token_id": 4, "pad_token_id": 0,
}  # fmt: skip


def _marian(size: int) -> Any:
    # Its padding token comes last, and starts the answer.
    shape = {**_SHAPE, "pad_token_id": size, "decoder_start_token_id": size}
    model: Any = MarianMTModel(_config(MarianConfig, size + 1, **shape, scale_embedding=True))
    model.generation_config.bad_words_ids = [[size]]
    return model


def _config(kind: Any, size: int, **facts: Any) -> Any:
    return kind(vocab_size=size, **facts)


_MAKERS: dict[str, Callable[[int], Any]] = {
    "marian": _marian,
    "bart": lambda size: BartForConditionalGeneration(
        _config(BartConfig, size, **_SHAPE, decoder_start_token_id=END)
    ),
    "mbart": lambda size: MBartForConditionalGeneration(
        _config(MBartConfig, size, **_SHAPE, decoder_start_token_id=END, scale_embedding=True)
    ),
    "m2m100": lambda size: M2M100ForConditionalGeneration(
        _config(M2M100Config, size, **_SHAPE, decoder_start_token_id=END, scale_embedding=False)
    ),
    "pegasus": lambda size: PegasusForConditionalGeneration(
        _config(PegasusConfig, size, **_SHAPE, decoder_start_token_id=0)
    ),
    "t5": lambda size: T5ForConditionalGeneration(_config(T5Config, size, **_T5)),
    "t5_gated": lambda size: T5ForConditionalGeneration(
        _config(T5Config, size, **_T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ),
    "mt5": lambda size: MT5ForConditionalGeneration(_config(MT5Config, size, **_T5)),
    "llama": lambda size: LlamaForCausalLM(_config(LlamaConfig, size, **_DECODER)),
    "qwen2": lambda size: Qwen2ForCausalLM(_config(Qwen2Config, size, **_DECODER)),
    "qwen3": lambda size: Qwen3ForCausalLM(_config(Qwen3Config, size, **_DECODER, head_dim=8)),
}

FAMILIES = tuple(_MAKERS)
DECODERS = ("llama", "qwen2", "qwen3")


def save_family(folder: Path, family: str, *, seed: int = 5, **generation: Any) -> Path:
    """A model of the family with a tokenizer; ``generation`` goes into its generation configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    chat = family in DECODERS
    size = save_tokenizer(folder, max_length=128, chat=chat)
    torch.manual_seed(seed)
    model = _MAKERS[family](size)
    if hasattr(model, "final_logits_bias"):
        with torch.no_grad():
            model.model.shared.weight.mul_(0.6)
            model.final_logits_bias[0, END] = 2.5
    if "early_stopping" in generation:
        generation.setdefault("num_beams", 4)  # transformers saves the one with the other only
    model.generation_config.update(**generation)
    model.save_pretrained(folder)
    return folder
