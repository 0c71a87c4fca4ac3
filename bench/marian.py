"""A translator to measure with: the shape of Marian's base models, random weights, a tokenizer trained on the spot."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from server.demo.corpus import docstrings

#: Tokens that opus-mt-en-de has, the padding token last.
VOCABULARY = 58_101
#: Pieces that a corpus of this size yields; made-up ones fill the vocabulary, for only its size costs time.
_PIECES = 8000
_CORPUS = 4000
_MAX_TOKENS = 512
_END, _UNKNOWN, _PAD = 0, 1, VOCABULARY - 1
_SEED = 11
#: Added to the closing token's logit: answers end only where their length is capped, so that they are all as long.
_NEVER = -1e4


def save_marian(folder: Path) -> Path:
    """Save model and tokenizer, English to German, in a folder of their own.

    Weights are random, which changes no speed. No answer ends by itself: whoever computes must cap its tokens.
    """
    import torch  # noqa: PLC0415  (only where it is measured)
    from transformers import MarianConfig, MarianMTModel  # noqa: PLC0415

    from nlp.loading import quiet  # noqa: PLC0415

    folder.mkdir(parents=True)
    _save_tokenizer(folder)
    config = MarianConfig(
        vocab_size=VOCABULARY,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        max_position_embeddings=_MAX_TOKENS,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=_PAD,
        bos_token_id=_END,
        eos_token_id=_END,
        decoder_start_token_id=_PAD,
        forced_eos_token_id=None,
    )
    torch.manual_seed(_SEED)
    model: Any = MarianMTModel(config)
    model.final_logits_bias[0, _END] = _NEVER
    model.generation_config.bad_words_ids = [[_PAD]]  # as published models have it
    with quiet():
        model.save_pretrained(folder)
    return folder


def _save_tokenizer(folder: Path) -> None:
    import sentencepiece  # noqa: PLC0415
    from transformers import MarianTokenizer  # noqa: PLC0415

    from nlp.loading import quiet  # noqa: PLC0415

    prefix = folder / "unigram"
    train: Any = sentencepiece.SentencePieceTrainer
    train.train(
        sentence_iterator=(" ".join(one.text.split()) for one in docstrings(_CORPUS)),
        model_prefix=str(prefix),
        vocab_size=_PIECES,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = Path(f"{prefix}.model")
    loaded: Any = sentencepiece.SentencePieceProcessor
    processor = loaded(model_file=str(pieces))
    learnt = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    tokens = [
        "</s>",
        "<unk>",
        *(piece for piece in learnt if piece not in {"<s>", "</s>", "<unk>"}),
    ]
    tokens += [f"\u2581filler{number}" for number in range(len(tokens), _PAD)]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(
        json.dumps({token: place for place, token in enumerate([*tokens, "<pad>"])})
    )
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        MarianTokenizer(
            str(pieces),
            str(pieces),
            str(vocabulary),
            source_lang="eng",
            target_lang="deu",
            model_max_length=_MAX_TOKENS,
        ).save_pretrained(folder)
    pieces.unlink()
    Path(f"{prefix}.vocab").unlink()
