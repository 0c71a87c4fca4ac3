"""Numbers of texts beside gold texts: by hand, and as sacrebleu computes them over the whole corpus."""

from __future__ import annotations

import math
import random
import re

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nlp.evaluation.rouge import longest_common, rouge
from nlp.evaluation.texts import evaluate_texts, perplexity

WORDS = re.findall(r"\S+", "the a cat dog sat ran on under mat house grün Straße , . 3.5 don't")


def corpus(seed: int, rows: int = 40) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    gold = [" ".join(rng.choices(WORDS, k=rng.randint(1, 25))) for _ in range(rows)]
    found = [
        " ".join(word if rng.random() < 0.8 else rng.choice(WORDS) for word in text.split())
        for text in gold
    ]
    found[0] = ""
    return found, gold


@pytest.mark.parametrize("seed", range(4))
def test_corpus_scores_are_sacrebleus(seed: int) -> None:
    found, gold = corpus(seed)
    metrics = evaluate_texts(found, gold).metrics
    assert metrics["chrf"] == pytest.approx(CHRF().corpus_score(found, [gold]).score)
    assert metrics["bleu"] == pytest.approx(BLEU().corpus_score(found, [gold]).score)


def test_chinese_is_told_apart_by_its_own_tokenizer() -> None:
    found, gold = ["我们今天去学校吧好吗"], ["我们今天去学校看书好吗"]
    right = BLEU(tokenize="zh").corpus_score(found, [gold]).score
    assert evaluate_texts(found, gold, language="zh").metrics["bleu"] == pytest.approx(right)
    assert right > 10 > evaluate_texts(found, gold).metrics["bleu"]
    assert "tok:zh" in evaluate_texts(found, gold, language="zh").details["bleu_signature"]


def test_rouge_by_hand() -> None:
    # 3 of the words are shared of 4 and 6; one pair ("the cat") of 3 and 5; the subsequence: the cat mat.
    one, two, longest = rouge("The cat, mat sat", "the cat on a big MAT")
    assert one == pytest.approx(2 * 3 / (4 + 6))
    assert two == pytest.approx(2 * 1 / (3 + 5))
    assert longest == pytest.approx(2 * 3 / (4 + 6))


def test_rouge_reads_words_of_every_script() -> None:
    assert rouge("Größe ändern", "größe Ändern") == (1.0, 1.0, 1.0)
    assert rouge("мир", "война") == (0.0, 0.0, 0.0)
    assert rouge("", "") == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_common_subsequence_is_that_of_the_table(seed: int) -> None:
    rng = random.Random(seed)
    one, other = (rng.choices("abcd", k=rng.randint(0, 30)) for _ in range(2))
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    assert longest_common(one, other) == table[-1][-1]


def test_exact_match_does_not_see_white_space_around() -> None:
    assert evaluate_texts([" a b\n", "c"], ["a b", "d"]).metrics["exact_match"] == 0.5


def test_texts_that_are_all_empty_score_nothing() -> None:
    metrics = evaluate_texts([""], ["word"]).metrics
    assert set(metrics.values()) == {0.0}


def test_perplexity() -> None:
    assert perplexity(math.log(8) * 5, 5) == pytest.approx(8)
    assert perplexity(1e9, 1) == math.inf
