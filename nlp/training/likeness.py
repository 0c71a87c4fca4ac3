"""Which rows are alike: the same but for case, punctuation and white space, or sharing most of their wording.

Texts of some length are compared by the sets of their three-word sequences, through MinHash and banding (Broder
1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3): of pairs with a Jaccard similarity of
0.9 this finds 99 %, of 0.8 three quarters, of 0.5 three in a hundred. Short texts are alike only when they are the
same: "5 May 2024" and "6 May 2024" are two examples.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

#: Words from which on texts are compared by their wording.
_LEAST_WORDS = 16
_SHINGLE = 3
_BANDS = 8
_ROWS = 8

# A word; scripts that write no spaces count by the character.
_WORD = re.compile(r"[\u0e00-\u0eff\u2e80-\u9fff\uf900-\ufaff]|[^\W_]+")

_SEEDS = np.frombuffer(
    b"".join(
        hashlib.blake2b(number.to_bytes(4, "little"), digest_size=8).digest()
        for number in range(_BANDS * _ROWS)
    ),
    dtype="<u8",
).astype(np.uint64)
_WORD_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64
)


class Likeness:
    """Rows by number, and which of them are alike.

    Args:
        rows: how many there will be.
        folder: for a file of 64 bytes a row, which is removed by :meth:`groups`.
    """

    def __init__(self, rows: int, folder: Path) -> None:
        self.exact: Hashes = np.zeros(rows, np.uint64)  #: digests of the words
        self._file = folder / "bands"
        self._bands: npt.NDArray[np.uint64] = np.memmap(
            self._file, dtype=np.uint64, mode="w+", shape=(_BANDS, max(1, rows))
        )
        self._count = 0

    def add(self, text: str) -> None:
        """Note the next row."""
        words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        # A text without a word is itself and nothing else.
        said = " ".join(words) or text.strip()
        digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self.exact[self._count] = int.from_bytes(digest, "little")
        if len(words) >= _LEAST_WORDS:
            self._bands[:, self._count] = _band_keys(words)
        self._count += 1

    def different(self) -> int:
        """How many different things the rows say."""
        return len(np.unique(self.exact))

    def groups(self) -> Numbers:
        """For each row the first row, by number, that it is alike to, directly or through others."""
        joined = _Union(len(self.exact))
        joined.join_equal(self.exact, np.arange(len(self.exact)))
        for band in self._bands:
            keys = np.asarray(band[: len(self.exact)])
            compared = np.flatnonzero(keys)
            joined.join_equal(keys[compared], compared)
        del self._bands
        self._file.unlink()
        return joined.roots()


class _Union:
    """Disjoint sets of numbers, each known by its least."""

    def __init__(self, count: int) -> None:
        self._above = np.arange(count)

    def join_equal(self, keys: Hashes, numbers: Numbers) -> None:
        """Join the numbers whose keys are equal."""
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        for place in same.tolist():
            self._join(int(numbers[order[place]]), int(numbers[order[place + 1]]))

    def roots(self) -> Numbers:
        while True:
            above = self._above[self._above]
            if np.array_equal(above, self._above):
                return above
            self._above = above

    def _join(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        if one != other:
            self._above[max(one, other)] = min(one, other)

    def _root(self, number: int) -> int:
        above = self._above
        while above[number] != number:
            above[number] = above[above[number]]
            number = int(above[number])
        return number


def _band_keys(words: Iterable[str]) -> Hashes:
    """MinHash values of a text, those of a band folded into one number that is not 0."""
    hashes = np.array([crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint64)
    count = len(hashes) - _SHINGLE + 1
    shingles = np.zeros(count, np.uint64)
    for offset in range(_SHINGLE):
        shingles = _mixed(shingles + hashes[offset : offset + count] * _WORD_FACTORS[offset])
    least = np.full(len(_SEEDS), np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, count, 512):  # long texts a piece at a time
        part = _mixed(shingles[None, start : start + 512] ^ _SEEDS[:, None])
        least = np.minimum(least, part.min(axis=1))
    keys = np.zeros(_BANDS, np.uint64)
    for column in least.reshape(_BANDS, _ROWS).T:
        keys = _mixed(keys ^ column)
    return keys | np.uint64(1)


def _mixed(values: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
