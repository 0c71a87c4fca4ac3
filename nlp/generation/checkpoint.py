"""A generating model's files: what every engine needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from jobs.errors import JobFailure
from nlp.loading import load_config, load_tokenizer, max_positions, max_tokens_of, quiet

#: Positions assumed of a model that names no limit, such as T5 with its relative positions.
_DEFAULT_CONTEXT = 1024
#: Tokens that end a turn in the chat formats in use. Configurations often name only one of a model's.
_TURN_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|end_of_turn|>", "<end_of_turn>", "<|end|>", "<|endoftext|>",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A folder with a generating model, and what its configurations say."""

    files: Path
    config: PretrainedConfig
    generation: GenerationConfig  #: the model's own choice of beams, penalties and the like
    tokenizer: PreTrainedTokenizerBase
    auto_class: Any  #: such as ``AutoModelForCausalLM``
    context: int  #: tokens that the model reads; of a decoder prompt and answer together
    answer: int  #: tokens that it can write at most
    ends: frozenset[int]  #: tokens that end an answer
    pad: int

    @classmethod
    def read(cls, files: Path) -> Checkpoint:
        """Read configurations and tokenizer; no weights.

        Raises:
            JobFailure: ``model_unsupported``, the model has no language-modelling head.
        """
        config = load_config(files)
        auto_class = _auto_class(config)
        tokenizer = load_tokenizer(files)
        generation = _generation_config(files, config)
        limits = [_positions(config, "encoder"), max_tokens_of(tokenizer)]
        context = min((limit for limit in limits if limit), default=_DEFAULT_CONTEXT)
        ends = _end_ids(generation, tokenizer)
        pad = tokenizer.pad_token_id
        return cls(
            files=files,
            config=config,
            generation=generation,
            tokenizer=tokenizer,
            auto_class=auto_class,
            context=context,
            answer=_positions(config, "decoder") or context,
            ends=ends,
            pad=pad if pad is not None else min(ends, default=0),
        )

    def taught(self, adapter: Path) -> Checkpoint:
        """The same with the tokenizer that came with an adapter, which may bring a chat format of its own.

        Raises:
            JobFailure: ``model_unsupported``, it has other tokens than the base.
        """
        if not (adapter / "tokenizer_config.json").is_file():
            return self
        tokenizer = load_tokenizer(adapter)
        if tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise JobFailure(
                "model_unsupported",
                "The adapter cannot be used: its tokenizer has other tokens than that of its base.",
            )
        return replace(self, tokenizer=tokenizer)

    @property
    def is_seq2seq(self) -> bool:
        """Whether the model reads with one half and writes with the other."""
        return bool(self.config.is_encoder_decoder)

    @property
    def start(self) -> int:
        """The token with which the writing half of an encoder-decoder begins."""
        own = self.generation
        start = own.decoder_start_token_id
        if start is None:
            start = getattr(self.config, "decoder_start_token_id", None)
        return int(start if start is not None else own.bos_token_id or 0)

    @property
    def own_beams(self) -> int:
        """Beams that the model's own generation configuration asks for."""
        return (self.generation.num_beams or 1) if self.is_seq2seq else 1


def _positions(config: PretrainedConfig, half: str) -> int | None:
    """Positions of one half of the model; LED names them apart."""
    own = getattr(config, f"max_{half}_position_embeddings", None)
    return own if isinstance(own, int) else max_positions(config)


def _generation_config(files: Path, config: PretrainedConfig) -> GenerationConfig:
    made: Any = GenerationConfig  # has no types
    if not (files / "generation_config.json").exists():
        return cast(GenerationConfig, made.from_model_config(config))
    try:
        with quiet():
            return cast(GenerationConfig, made.from_pretrained(files, local_files_only=True))
    except (OSError, ValueError, TypeError) as error:
        raise JobFailure(
            "model_unsupported", f"Cannot read generation_config.json: {error}"
        ) from error


def _end_ids(generation: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    own = generation.eos_token_id
    ends = {*own} if isinstance(own, list) else {own}
    ends.add(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    ends |= {vocabulary[token] for token in _TURN_ENDS if token in vocabulary}
    return frozenset(end for end in ends if end is not None)


def _auto_class(config: PretrainedConfig) -> Any:
    names = config.architectures or []
    if config.is_encoder_decoder and any(name.endswith("Generation") for name in names):
        return AutoModelForSeq2SeqLM
    if config.is_encoder_decoder and any(name.endswith("MTModel") for name in names):
        return AutoModelForSeq2SeqLM
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        return AutoModelForCausalLM
    found = ", ".join(names or ["none named"])
    raise JobFailure(
        "model_unsupported", f"Expected a causal or a sequence-to-sequence model, found {found}."
    )
