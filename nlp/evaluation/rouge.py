"""ROUGE: words and word pairs that two texts share, and their longest common subsequence.

After Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", as the package ``rouge-score`` computes it
without stemming, but with words of all scripts: that package drops every letter that is not ASCII.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")

#: Words of a text that count; a comparison's time grows with the product of both lengths.
MAX_WORDS = 2000


def rouge(found: str, gold: str) -> tuple[float, float, float]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L, each 0 to 1."""
    ours, right = _words(found), _words(gold)
    shared = longest_common(ours, right)
    return (
        _overlap(ours, right, 1),
        _overlap(ours, right, 2),
        _f1(shared, len(ours), len(right)),
    )


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence, after Hunt and Szymanski 1977: quick where words seldom repeat."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(other):
        places[word].append(place)
    ends: list[
        int
    ] = []  # ends[n]: the least place in `other` where a common subsequence of n + 1 words ends
    for word in one:
        for place in reversed(places.get(word, ())):
            at = bisect_left(ends, place)
            ends[at : at + 1] = [place]
    return len(ends)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())[:MAX_WORDS]


def _overlap(ours: Sequence[str], right: Sequence[str], size: int) -> float:
    one = Counter(tuple(ours[n : n + size]) for n in range(len(ours) - size + 1))
    other = Counter(tuple(right[n : n + size]) for n in range(len(right) - size + 1))
    return _f1((one & other).total(), one.total(), other.total())


def _f1(shared: int, ours: int, right: int) -> float:
    return 2 * shared / (ours + right) if shared else 0.0
