"""Texts and pairs of texts as an encoder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

#: Characters read of a text for each token that the model can take. A token of real text has under ten;
#: this only keeps a huge text from being tokenized whole in order to throw nearly all of it away.
_CHARACTERS_PER_TOKEN = 64


@dataclass(frozen=True, slots=True)
class Tokens:
    """One tokenized sequence, special tokens included."""

    ids: list[int]
    type_ids: list[int]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """A model's tokenizer, cutting to what the model can take."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        # Tokenizers of our own, set up once: the one inside transformers changes with every call.
        backend = cast(Tokenizer, tokenizer.backend_tokenizer)
        self._whole = Tokenizer.from_str(backend.to_str())
        self._whole.no_padding()
        self._whole.enable_truncation(max_tokens, strategy="only_first")
        self._parts = Tokenizer.from_str(backend.to_str())
        self._parts.no_padding()
        self._parts.enable_truncation(max_tokens)
        self.max_tokens = max_tokens  #: special tokens included

    def whole(self, texts: Sequence[str]) -> list[Tokens]:
        """Each text as the model reads it, cut to ``max_tokens``."""
        limit = self.max_tokens * _CHARACTERS_PER_TOKEN
        encodings = self._whole.encode_batch_fast([text[:limit] for text in texts])
        return [
            _tokens(encoding, cut=len(text) > limit)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def parts(self, texts: Sequence[str]) -> list[Encoding]:
        """Texts as halves of pairs, without special tokens; for :meth:`pair`."""
        limit = self.max_tokens * _CHARACTERS_PER_TOKEN
        cut = [text[:limit] for text in texts]
        encodings: list[Encoding] = self._parts.encode_batch_fast(cut, add_special_tokens=False)
        return encodings

    def pair_length(self, first: Encoding, second: Encoding) -> int:
        """Length of the pair once joined, at most ``max_tokens``."""
        extra = self._whole.num_special_tokens_to_add(is_pair=True)
        return min(len(first) + len(second) + extra, self.max_tokens)

    def pair(self, first: Encoding, second: Encoding) -> Tokens:
        """Two halves as the model reads them; ``first`` gives way where both are too long."""
        joined = _tokens(self._whole.post_process(first, second), cut=bool(first.overflowing))
        extra = self._whole.num_special_tokens_to_add(is_pair=True)
        cut = joined.truncated or len(first) + len(second) + extra > self.max_tokens
        return Tokens(joined.ids, joined.type_ids, cut)


def _tokens(encoding: Encoding, *, cut: bool) -> Tokens:
    return Tokens(encoding.ids, encoding.type_ids, cut or bool(encoding.overflowing))
