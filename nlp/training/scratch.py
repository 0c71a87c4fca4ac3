"""Models to start from that need no hub: ``scratch:<architecture>[@preset]``, with a tokenizer trained on the rows.

They are made in a folder, as files like any other model's, and trained from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jobs.errors import JobFailure
from jobs.rows import Row
from nlp.loading import quiet
from nlp.training.pieces import (
    save_bert_tokenizer,
    save_llama_tokenizer,
    save_marian_tokenizer,
    train_pieces,
)
from nlp.training.task import Start
from nlp.translation.detection import detect

Preset = Literal["tiny", "small", "base"]
_PRESETS: tuple[Preset, ...] = get_args(Preset)

#: How a reference to such a model begins.
PREFIX = "scratch:"

#: Rows, spread over all, that a tokenizer is trained on.
_TOKENIZER_ROWS = 50_000
#: Rows whose language is looked at where nobody names it.
_LANGUAGE_ROWS = 200
#: Rows from which on more than the smaller size is worth its time.
_SMALL_FROM, _BASE_FROM = 20_000, 500_000
#: Tokens that a new model reads.
_MAX_TOKENS = 512
#: Folder below the task's own with the model's files.
_FOLDER = "scratch"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a model."""

    width: int
    layers: int  #: of each half, where there are two
    heads: int
    inner: int
    vocabulary: int  #: of each language, where there are two


_SIZES: dict[str, dict[Preset, Size]] = {
    "marian": {
        "tiny": Size(width=128, layers=2, heads=4, inner=256, vocabulary=1000),
        "small": Size(width=256, layers=4, heads=4, inner=1024, vocabulary=8000),
        "base": Size(width=512, layers=6, heads=8, inner=2048, vocabulary=16_000),
    },
    "bert": {
        "tiny": Size(width=128, layers=2, heads=2, inner=512, vocabulary=4000),
        "small": Size(width=256, layers=4, heads=4, inner=1024, vocabulary=12_000),
        "base": Size(width=512, layers=8, heads=8, inner=2048, vocabulary=30_000),
    },
    "llama": {
        "tiny": Size(width=128, layers=2, heads=4, inner=384, vocabulary=2000),
        "small": Size(width=256, layers=6, heads=4, inner=768, vocabulary=8000),
        "base": Size(width=512, layers=12, heads=8, inner=1536, vocabulary=16_000),
    },
}


def is_scratch(reference: str) -> bool:
    """Whether a reference asks for a new model."""
    return reference.startswith(PREFIX)


def preset_of(start: Start) -> Preset:
    """The size that the job asks for, or one that so many rows can fill.

    Raises:
        JobFailure: ``model_unsupported``, the reference names no known size; ``invalid_params``, it names another one
            than the parameters.
    """
    _, _, named = start.reference.partition("@")
    asked = start.params.preset
    for preset in _PRESETS:
        if preset == (named or asked):
            if asked not in (None, preset):
                raise JobFailure(
                    "invalid_params",
                    f"The model is to be {preset} by its reference: expected the same or nothing, found {asked}.",
                    field="params.preset",
                )
            return preset
    if named:
        known = ", ".join(_PRESETS)
        raise JobFailure("model_unsupported", f"Expected a size of {known}; found {named!r}.")
    rows = len(start.rows)
    return "tiny" if rows < _SMALL_FROM else "small" if rows < _BASE_FROM else "base"


def scratch_files(start: Start) -> Path:
    """Make a new model: its folder, with weights by the random state of the moment.

    Raises:
        JobFailure: ``model_unsupported``, no such architecture; ``invalid_params``, a tokenizer or the languages
            cannot be had from the data.
    """
    architecture = start.reference.removeprefix(PREFIX).partition("@")[0]
    if architecture not in _SIZES:
        known = ", ".join(f"{PREFIX}{name}" for name in _SIZES)
        raise JobFailure(
            "model_unsupported", f"Expected one of {known}; found {start.reference!r}."
        )
    folder = start.scratch / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    if start.kept is not None:
        shutil.copytree(start.kept / _FOLDER, folder)
    else:
        folder.mkdir(parents=True)
        _MAKERS[architecture](start, _SIZES[architecture][preset_of(start)], folder)
    _save_model(architecture, folder)
    return folder


def keep_scratch(files: Path, folder: Path) -> None:
    """Copy what a checkpoint must hold beside the weights: tokenizer and configuration."""
    shutil.copytree(files, folder / _FOLDER, ignore=shutil.ignore_patterns("*.safetensors"))


def languages_of(start: Start) -> tuple[str | None, str | None]:
    """From which language into which the rows translate: as the job says, or as most of some rows seem to."""
    params, rows = start.params, _evenly(start.rows, _LANGUAGE_ROWS)
    source = params.source_lang or _most(row.text for row in rows)
    target = params.target_lang or _most(str(row.fields.get("target", "")) for row in rows)
    return source, target


def _marian(start: Start, size: Size, folder: Path) -> None:
    from transformers import MarianConfig  # noqa: PLC0415

    languages: tuple[str | None, str | None] = (None, None)
    if start.params.task == "translate":
        languages = languages_of(start)
        if languages[1] is None:
            raise JobFailure(
                "invalid_params",
                "It cannot be told what the targets are written in: name the language, such as `de`.",
                field="params.target_lang",
            )
    pieces = start.params.vocabulary or size.vocabulary
    source = train_pieces(_texts(start.rows), folder / "texts.model", pieces)
    target = train_pieces(_targets(start.rows), folder / "targets.model", pieces)
    count = save_marian_tokenizer(
        folder, source, target, languages=languages, max_tokens=_MAX_TOKENS
    )
    MarianConfig(
        vocab_size=count,
        d_model=size.width,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.inner,
        decoder_ffn_dim=size.inner,
        max_position_embeddings=_MAX_TOKENS,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=count - 1,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=count - 1,
        forced_eos_token_id=None,
    ).save_pretrained(folder)


def _bert(start: Start, size: Size, folder: Path) -> None:
    from transformers import BertConfig  # noqa: PLC0415

    wanted = start.params.vocabulary or size.vocabulary
    count = save_bert_tokenizer(folder, _texts(start.rows), wanted, max_tokens=_MAX_TOKENS)
    BertConfig(
        vocab_size=count,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.inner,
        max_position_embeddings=_MAX_TOKENS,
        pad_token_id=0,
    ).save_pretrained(folder)


def _llama(start: Start, size: Size, folder: Path) -> None:
    from transformers import LlamaConfig  # noqa: PLC0415

    wanted = start.params.vocabulary or size.vocabulary
    both = _both(start.rows)
    count = save_llama_tokenizer(folder, both, wanted, max_tokens=2 * _MAX_TOKENS)
    LlamaConfig(
        vocab_size=count,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.inner,
        max_position_embeddings=2 * _MAX_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ).save_pretrained(folder)


_MAKERS: dict[str, Callable[[Start, Size, Path], None]] = {
    "marian": _marian,
    "bert": _bert,
    "llama": _llama,
}


def _save_model(architecture: str, folder: Path) -> None:
    """Random weights for the configuration in the folder."""
    from transformers import (  # noqa: PLC0415
        AutoConfig,
        BertForMaskedLM,
        LlamaForCausalLM,
        MarianMTModel,
    )

    classes: dict[str, Any] = {
        "marian": MarianMTModel,
        "bert": BertForMaskedLM,
        "llama": LlamaForCausalLM,
    }
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    model = classes[architecture](config)
    if architecture == "marian":
        # CTranslate2 begins with a vector of zeros, and published models have that for padding too, never written.
        model.get_input_embeddings().weight.data[config.pad_token_id].zero_()
        model.generation_config.bad_words_ids = [[config.pad_token_id]]
    with quiet():
        model.save_pretrained(folder)


def _texts(rows: Sequence[Row]) -> Iterator[str]:
    return (row.text for row in _evenly(rows, _TOKENIZER_ROWS))


def _targets(rows: Sequence[Row]) -> Iterator[str]:
    return (str(row.fields.get("target", "")) for row in _evenly(rows, _TOKENIZER_ROWS))


def _both(rows: Sequence[Row]) -> Iterator[str]:
    for row in _evenly(rows, _TOKENIZER_ROWS):
        yield row.text
        yield str(row.fields.get("target", ""))


def _evenly(rows: Sequence[Row], most: int) -> Sequence[Row]:
    """At most so many rows, spread over all of them."""
    return rows[:: max(1, -(-len(rows) // most))]


def _most(texts: Iterator[str]) -> str | None:
    """The language that more than half of the texts seem to be in."""
    found = [detect(text, None).tag for text in texts]
    best = max(set(found), key=lambda tag: (found.count(tag), str(tag)), default=None)
    return best if best is not None and found.count(best) * 2 > len(found) else None
