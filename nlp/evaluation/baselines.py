"""What a person would use without a tuned model: a model is worth its cost only where it does better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from nlp.evaluation.classification import Choice
from nlp.sentences import first_sentence

Item = TypeVar("Item")

#: Training rows that TF-IDF learns from; further ones change little and cost minutes.
TFIDF_ROWS = 20_000

#: Words and word pairs that TF-IDF counts.
_FEATURES = 50_000


def majority(training: Sequence[str], rows: int) -> list[Choice]:
    """The label that is most frequent in training, for every row; the first in the alphabet of those as frequent."""
    counts = Counter(training)
    label = min(counts, key=lambda one: (-counts[one], one))
    return [Choice(label)] * rows


def majority_sets(training: Sequence[Collection[str]], rows: int) -> list[frozenset[str]]:
    """The labels that at least half of the training rows have, or else the most frequent one."""
    counts = Counter(label for labels in training for label in set(labels))
    common = frozenset(label for label, count in counts.items() if 2 * count >= len(training))
    if not common and counts:
        common = frozenset([min(counts, key=lambda one: (-counts[one], one))])
    return [common] * rows


def majority_metrics(gold: Mapping[str, int], rows: int) -> dict[str, float]:
    """What always giving the most frequent gold label scores, from how many rows have which label."""
    hits = max(gold.values())
    return {"accuracy": hits / rows, "macro_f1": 2 * hits / (rows + hits) / len(gold)}


def majority_set_metrics(gold: Mapping[str, int], rows: int) -> dict[str, float]:
    """As :func:`majority_metrics` for :func:`majority_sets` of the gold labels themselves."""
    if not gold:
        return {"micro_f1": 1.0, "macro_f1": 1.0}
    given = {label: count for label, count in gold.items() if 2 * count >= rows}
    if not given:
        given = dict([min(gold.items(), key=lambda one: (-one[1], one[0]))])
    return {
        "micro_f1": 2 * sum(given.values()) / (rows * len(given) + sum(gold.values())),
        "macro_f1": sum(2 * count / (rows + count) for count in given.values()) / len(gold),
    }


def tfidf(training: Sequence[str], labels: Sequence[str], texts: Sequence[str]) -> list[Choice]:
    """Labels by logistic regression over TF-IDF of words and word pairs, which weighs all labels alike.

    Args:
        training: texts to learn from; of more than :data:`TFIDF_ROWS` an even choice is taken.
        labels: theirs; at least two different ones.
        texts: what is to be labelled.

    Raises:
        ValueError: no text has a word, or there is only one label.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=_FEATURES)
    model = LogisticRegression(C=10.0, class_weight="balanced", tol=1e-3, max_iter=2000)
    model.fit(words.fit_transform(_evenly(training)), _evenly(labels))
    names = [str(name) for name in model.classes_]
    return [
        Choice(names[int(scores.argmax())], dict(zip(names, map(float, scores), strict=True)))
        for scores in model.predict_proba(words.transform(texts))
    ]


def tfidf_sets(
    training: Sequence[str], labels: Sequence[Collection[str]], texts: Sequence[str]
) -> list[frozenset[str]]:
    """As :func:`tfidf` for any number of labels a row: one regression for each label.

    Raises:
        ValueError: no text has a word, or no row has a label.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    learnt = _evenly(labels)
    names = sorted({label for row in learnt for label in row})
    if not names:
        raise ValueError("no row has a label")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=_FEATURES)
    features = words.fit_transform(_evenly(training))
    unseen = words.transform(texts)
    found: list[set[str]] = [set() for _ in texts]
    for name in names:
        has = [name in row for row in learnt]
        if all(has) or not any(has):
            given = [all(has)] * len(found)
        else:
            model = LogisticRegression(C=10.0, class_weight="balanced", tol=1e-3, max_iter=2000)
            given = model.fit(features, has).predict(unseen).tolist()
        for row, yes in zip(found, given, strict=True):
            if yes:
                row.add(name)
    return [frozenset(row) for row in found]


def copied(texts: Sequence[str]) -> list[str]:
    """The source, unchanged."""
    return [text.strip() for text in texts]


def lead_sentences(texts: Sequence[str]) -> list[str]:
    """The first sentence of each text."""
    return [first_sentence(text) for text in texts]


def _evenly(rows: Sequence[Item]) -> Sequence[Item]:
    """At most :data:`TFIDF_ROWS` of the rows, spread over all of them."""
    step = -(-len(rows) // TFIDF_ROWS)
    return rows[::step] if step > 1 else rows
