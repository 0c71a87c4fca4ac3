"""Texts beside gold texts: exact match, chrF, BLEU and ROUGE; and what a loss is as perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.helpers import extract_all_char_ngrams

from nlp.evaluation.rouge import rouge
from nlp.evaluation.tally import Grouped, Tally
from nlp.training.task import Evaluation

#: chrF as sacrebleu computes it by default: characters up to six, no words, recall twice as heavy.
_CHRF_ORDER = 6
_CHRF_BETA = 2

#: sacrebleu's tokenizers for languages that write no spaces.
_TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char"}


def evaluate_texts(
    found: Sequence[str],
    gold: Sequence[str],
    *,
    language: str | None = None,
    groups: Sequence[object] | None = None,
    group_field: str | None = None,
) -> Evaluation:
    """One text a row: see :class:`TextTally`."""
    tally = Grouped(lambda: TextTally(language), group_field)
    for one, right, group in zip(found, gold, groups or [None] * len(found), strict=True):
        tally.add(one, right, group)
    return tally.evaluation()


def perplexity(loss: float, tokens: int) -> float:
    """The perplexity per token.

    Args:
        loss: negative log-likelihood in nats, summed over the tokens.
        tokens: how many; positive.
    """
    mean = loss / tokens
    return math.exp(mean) if mean < 700 else math.inf


class TextTally(Tally[str, str]):
    """Counts for rows with one text each. White space around a text never counts.

    Metrics: ``exact_match``; ``chrf`` and ``bleu`` of the whole corpus as sacrebleu gives them, 0 to 100; ``rouge_1``,
    ``rouge_2`` and ``rouge_l``, the mean F1 over rows, 0 to 1.

    Args:
        language: two-letter code of the texts' language, which decides how BLEU tells words apart.
    """

    fair: ClassVar[str] = "chrf"

    def __init__(self, language: str | None = None) -> None:
        tokenizer = _TOKENIZERS.get((language or "").split("-")[0].lower(), "13a")
        self._bleu = BLEU(tokenize=tokenizer)
        self._rows = self._exact = 0
        self._rouge = [0.0, 0.0, 0.0]
        self._chrf = [[0, 0, 0] for _ in range(_CHRF_ORDER)]  # found, gold and shared n-grams
        self._correct = [0] * self._bleu.max_ngram_order
        self._total = [0] * self._bleu.max_ngram_order
        self._found_words = self._gold_words = 0

    def add(self, found: str, gold: str) -> None:
        found, gold = found.strip(), gold.strip()
        self._rows += 1
        self._exact += found == gold
        for place, value in enumerate(rouge(found, gold)):
            self._rouge[place] += value
        ours = extract_all_char_ngrams(found, _CHRF_ORDER)
        right = extract_all_char_ngrams(gold, _CHRF_ORDER)
        for sums, one, other in zip(self._chrf, ours, right, strict=True):
            sums[0] += one.total()
            sums[1] += other.total()
            sums[2] += (one & other).total()
        counts = self._bleu.corpus_score([found], [[gold]])
        for order, (correct, total) in enumerate(zip(counts.counts, counts.totals, strict=True)):
            self._correct[order] += correct
            self._total[order] += total
        self._found_words += counts.sys_len
        self._gold_words += counts.ref_len

    def evaluation(self) -> Evaluation:
        if not self._rows:
            return Evaluation({})
        bleu = BLEU.compute_bleu(
            self._correct, self._total, self._found_words, self._gold_words, smooth_method="exp"
        )
        metrics = {
            "exact_match": self._exact / self._rows,
            "chrf": chrf(self._chrf),
            "bleu": float(bleu.score),
            "rouge_1": self._rouge[0] / self._rows,
            "rouge_2": self._rouge[1] / self._rows,
            "rouge_l": self._rouge[2] / self._rows,
        }
        return Evaluation(metrics, {"bleu_signature": str(self._bleu.get_signature())})


def chrf(counts: Sequence[Sequence[int]]) -> float:
    """Corpus chrF, 0 to 100, from its sums: for each order the n-grams found, gold and shared (Popović 2015).

    Precision and recall are means over the orders that occur on both sides, as in sacrebleu.
    """
    used = [sums for sums in counts if sums[0] and sums[1]]
    if not used:
        return 0.0
    precision = sum(shared / found for found, _, shared in used) / len(used)
    recall = sum(shared / gold for _, gold, shared in used) / len(used)
    if not precision + recall:
        return 0.0
    factor = _CHRF_BETA**2
    return 100 * (1 + factor) * precision * recall / (factor * precision + recall)
