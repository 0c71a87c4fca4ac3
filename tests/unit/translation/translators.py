"""Small translators of every family, with random weights and tokenizers trained on the spot."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

from nlp.loading import quiet
from tests.unit.nlp.tinymodels import TEXTS

_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
#: Sizes of the Marian, BART and M2M100 models; none of them is taken as a limit by accident.
_SIZES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 200,
    "init_std": 0.4,
}


def save_marian(folder: Path, *, targets: Sequence[str] = (), **facts: Any) -> Path:
    """A Marian from English to German, or to several languages that tokens such as ``>>deu<<`` choose."""
    folder.mkdir(parents=True, exist_ok=True)
    model, pieces = _sentencepiece(folder)
    tokens = ["</s>", "<unk>", *pieces, *(f">>{code}<<" for code in targets), "<pad>"]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    own = {"source_lang": "eng", "target_lang": "mul" if targets else "deu"} | facts
    quietly(
        lambda: MarianTokenizer(str(model), str(model), str(vocabulary), **own)
    ).save_pretrained(folder)
    pad = len(tokens) - 1
    config = MarianConfig(
        vocab_size=len(tokens), pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=0,
        forced_eos_token_id=None, **_SIZES,
    )  # fmt: skip
    return _save(MarianMTModel, config, folder)


def save_m2m100(folder: Path) -> Path:
    """An M2M100: a hundred languages by codes such as ``de``."""
    folder.mkdir(parents=True, exist_ok=True)
    model, pieces = _sentencepiece(folder)
    vocabulary = folder / "vocab.json"
    tokens = [*_SPECIAL, *pieces]
    vocabulary.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    codes = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
    tokenizer = M2M100Tokenizer(str(vocabulary), str(model), additional_special_tokens=codes)
    tokenizer.save_pretrained(folder)
    return _save_m2m100(folder, len(tokens) + 100 + 8)


def save_nllb(folder: Path) -> Path:
    """An NLLB: two hundred languages by codes such as ``deu_Latn``."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=_SPECIAL, show_progress=False)
    trained.train_from_iterator(TEXTS, trainer)
    facts = json.loads(trained.to_str())["model"]
    merges: Any = [tuple(pair) for pair in facts["merges"]]
    tokenizer = NllbTokenizer(vocab=facts["vocab"], merges=merges)
    tokenizer.save_pretrained(folder)
    return _save_m2m100(folder, len(tokenizer))


def save_mbart50(folder: Path) -> Path:
    """An mBART-50: fifty languages by codes such as ``de_DE``."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer: Any = MBart50Tokenizer(vocab=_scored(folder))
    tokenizer.save_pretrained(folder)
    return _save_mbart(folder, len(tokenizer), decoder_start_token_id=2)


def save_mbart(folder: Path, target: str) -> Path:
    """A first mBART, tuned to write one language: it starts with that one's token."""
    folder.mkdir(parents=True, exist_ok=True)
    scored = [*((token, 0.0) for token in _SPECIAL), *_scored(folder)[3:]]
    tokenizer: Any = MBartTokenizer(vocab=scored)
    tokenizer.save_pretrained(folder)
    start = tokenizer.convert_tokens_to_ids(target)
    return _save_mbart(folder, len(tokenizer), decoder_start_token_id=start)


def save_t5(
    folder: Path, *, pairs: Sequence[tuple[str, str, str]] = (), madlad: Sequence[str] = ()
) -> Path:
    """A T5 with prefixes for pairs of languages, or with MADLAD's tokens of targets."""
    folder.mkdir(parents=True, exist_ok=True)
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_scored(folder)[3:]]
    tokenizer: Any = T5Tokenizer(vocab=scored, extra_ids=0)
    tokenizer.add_tokens([f"<2{code}>" for code in madlad])
    tokenizer.save_pretrained(folder)
    tasks = {f"translation_{one}_to_{other}": {"prefix": prefix} for one, other, prefix in pairs}
    facts: Any = T5Config  # its types leave out what it takes from its base
    config = facts(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        initializer_factor=2.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        task_specific_params=tasks or None,
    )  # fmt: skip
    return _save(T5ForConditionalGeneration, config, folder)


def _save_m2m100(folder: Path, size: int) -> Path:
    config = M2M100Config(
        vocab_size=size, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, **_SIZES
    )  # fmt: skip
    return _save(M2M100ForConditionalGeneration, config, folder)


def _save_mbart(folder: Path, size: int, **facts: Any) -> Path:
    config = MBartConfig(
        vocab_size=size, pad_token_id=1, bos_token_id=0, eos_token_id=2, forced_eos_token_id=None,
        **_SIZES, **facts,
    )  # fmt: skip
    return _save(MBartForConditionalGeneration, config, folder)


def _save(model: Any, config: Any, folder: Path) -> Path:
    torch.manual_seed(23)
    with quiet():
        model(config).save_pretrained(folder)
    return folder


def _sentencepiece(folder: Path) -> tuple[Path, list[str]]:
    """A unigram model of the test texts, and its pieces without the special ones."""
    prefix = folder / "sentencepiece.bpe"
    train: Any = sentencepiece.SentencePieceTrainer
    train.train(
        sentence_iterator=iter(TEXTS * 3), model_prefix=str(prefix), vocab_size=160, hard_vocab_limit=False,
        character_coverage=1.0, minloglevel=2,
    )  # fmt: skip
    processor: Any = sentencepiece.SentencePieceProcessor
    loaded = processor(model_file=f"{prefix}.model")
    pieces = [loaded.id_to_piece(number) for number in range(loaded.get_piece_size())]
    return Path(f"{prefix}.model"), [piece for piece in pieces if piece not in _SPECIAL]


def _scored(folder: Path) -> list[tuple[str, float]]:
    """Pieces with their scores, special ones first."""
    model, _ = _sentencepiece(folder)
    processor: Any = sentencepiece.SentencePieceProcessor
    loaded = processor(model_file=str(model))
    return [
        (loaded.id_to_piece(number), loaded.get_score(number))
        for number in range(loaded.get_piece_size())
    ]


def quietly(make: Callable[[], Any]) -> Any:
    """What is made, without transformers' advice."""
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        return make()
