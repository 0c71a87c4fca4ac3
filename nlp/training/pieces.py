"""Tokenizers trained on the spot: unigram pieces for Marian, WordPiece for BERT, bytes for decoders."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jobs.errors import JobFailure
from nlp.loading import quiet

#: Characters of a text that a tokenizer learns from: more of one text teach little.
_CHARACTERS = 4000
#: Bytes of a line that sentencepiece takes; longer ones it would leave out.
_LINE_BYTES = 4 * _CHARACTERS

_END, _UNKNOWN, _PAD = "</s>", "<unk>", "<pad>"
_BERT = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_LLAMA = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}


def train_pieces(texts: Iterable[str], path: Path, size: int) -> Path:
    """Train a unigram model of pieces, in which every digit is a piece of its own; the same texts give the same one.

    Args:
        path: of the model, which ends in ``.model``.
        size: most pieces; few texts give fewer.

    Raises:
        JobFailure: ``invalid_params``, so few pieces cannot spell the texts.
    """
    import sentencepiece  # noqa: PLC0415

    train: Any = sentencepiece.SentencePieceTrainer
    try:
        train.train(
            sentence_iterator=_lines(texts),
            model_prefix=str(path.with_suffix("")),
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            split_digits=True,
            max_sentence_length=_LINE_BYTES,
            num_threads=1,  # several add up probabilities in no certain order
            minloglevel=2,
        )
    except RuntimeError as error:
        raise JobFailure(
            "invalid_params",
            f"No tokenizer of {size} pieces can be trained on these texts: {error}",
            field="params.vocabulary",
        ) from error
    path.with_suffix(".vocab").unlink()
    return path


def save_marian_tokenizer(
    folder: Path,
    source: Path,
    target: Path,
    *,
    languages: tuple[str | None, str | None],
    max_tokens: int,
) -> int:
    """Write a Marian tokenizer over trained pieces, and remove the files of those.

    Args:
        source: pieces of the texts.
        target: pieces of the translations; may be the same file.
        languages: from which and into which it translates.

    Returns:
        the size of the vocabulary; the padding token comes last, as in published models.
    """
    from transformers import MarianTokenizer  # noqa: PLC0415

    special = {"<s>", _END, _UNKNOWN}
    learnt = dict.fromkeys([*_pieces_of(source), *_pieces_of(target)])
    tokens = [_END, _UNKNOWN, *(piece for piece in learnt if piece not in special)]
    tokens.append(_PAD)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({token: place for place, token in enumerate(tokens)}))
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        MarianTokenizer(
            str(source),
            str(target),
            str(vocabulary),
            source_lang=languages[0],
            target_lang=languages[1],
            model_max_length=max_tokens,
        ).save_pretrained(folder)
    for path in {source, target}:
        path.unlink()
    return len(tokens)


def save_bert_tokenizer(folder: Path, texts: Iterable[str], size: int, *, max_tokens: int) -> int:
    """Train and write a WordPiece tokenizer without capitals; the size of its vocabulary."""
    from tokenizers import BertWordPieceTokenizer  # noqa: PLC0415
    from transformers import BertTokenizer  # noqa: PLC0415

    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(
        _lines(texts),
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(_BERT.values()),
    )
    vocabulary = trained.get_vocab()
    make: Any = BertTokenizer  # has no types
    make(
        vocab=vocabulary, do_lower_case=True, model_max_length=max_tokens, **_BERT
    ).save_pretrained(folder)
    return len(vocabulary)


def save_llama_tokenizer(folder: Path, texts: Iterable[str], size: int, *, max_tokens: int) -> int:
    """Train and write a byte-level BPE tokenizer that opens each text; the size of its vocabulary."""
    from tokenizers import (  # noqa: PLC0415
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(_LLAMA.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(_lines(texts), trainer)
    opening = _LLAMA["bos_token"]
    trained.post_processor = processors.TemplateProcessing(
        single=f"{opening} $A",
        pair=f"{opening} $A $B",
        special_tokens=[(opening, trained.token_to_id(opening))],
    )
    make: Any = PreTrainedTokenizerFast  # has no types
    make(tokenizer_object=trained, model_max_length=max_tokens, **_LLAMA).save_pretrained(folder)
    return trained.get_vocab_size()


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Texts as lines, which is what trainers of tokenizers read."""
    for text in texts:
        line = " ".join(text[:_CHARACTERS].split())
        if line:
            yield line


def _pieces_of(model: Path) -> list[str]:
    import sentencepiece  # noqa: PLC0415

    make: Any = sentencepiece.SentencePieceProcessor
    loaded = make(model_file=str(model))
    return [loaded.id_to_piece(number) for number in range(loaded.get_piece_size())]
