"""What a row must hold to be trained on. Knows no torch: planners ask."""

from __future__ import annotations

from typing import Any

from jobs.rows import Row, RowFailure
from nlp.training.params import TrainingParams

#: The longest label.
_LABEL_CHARACTERS = 200
#: Most labels of one row.
_ROW_LABELS = 1000


def fields_of(params: TrainingParams) -> frozenset[str]:
    """Fields that a training reads beside ``text``."""
    own = {
        "classify": {"label", "labels"},
        "summarize": {"target"},
        "translate": {"target", "source_lang", "target_lang"},
        "language_model": set[str](),
    }[params.task]
    return frozenset(own | ({params.group_field} if params.group_field else set()))


def check_row(row: Row, params: TrainingParams) -> RowFailure | None:
    """Why a row cannot be trained on, or None."""
    if not row.text.strip():
        return RowFailure("empty_text", "The text is empty or only white space.")
    if params.task == "classify":
        return _check_labels(row)
    if params.task in {"summarize", "translate"}:
        return _check_target(row)
    return None


def labels_of(row: Row) -> list[str]:
    """The row's labels, which :func:`check_row` has found good: one, or any number of ``labels``."""
    several = row.fields.get("labels")
    if several is not None:
        names = several if isinstance(several, list) else [several]
        return list(dict.fromkeys(label_name(name) for name in names))
    return [label_name(row.fields["label"])]


def is_multi_label(row: Row) -> bool:
    """Whether the row says which of all labels hold, rather than which one."""
    return isinstance(row.fields.get("labels"), list)


def _check_labels(row: Row) -> RowFailure | None:
    label, labels = row.fields.get("label"), row.fields.get("labels")
    if label in (None, "") and labels in (None, ""):
        return RowFailure("missing_label", "The row has neither `label` nor `labels`.")
    names = labels if isinstance(labels, list) else [label if labels in (None, "") else labels]
    if len(names) > _ROW_LABELS:
        return RowFailure("invalid_label", f"Expected at most {_ROW_LABELS} labels.")
    if not all(isinstance(name, str | int) and len(label_name(name)) > 0 for name in names):
        return RowFailure("invalid_label", "Expected text or whole numbers for labels.")
    if any(len(label_name(name)) > _LABEL_CHARACTERS for name in names):
        return RowFailure(
            "invalid_label", f"Expected labels of at most {_LABEL_CHARACTERS} characters."
        )
    return None


def _check_target(row: Row) -> RowFailure | None:
    target = row.fields.get("target")
    if target is None:
        return RowFailure("missing_target", "The row has no `target`.")
    if not isinstance(target, str):
        return RowFailure("invalid_target", "Expected text for `target`.")
    if not target.strip():
        return RowFailure("missing_target", "The target is empty or only white space.")
    return None


def label_name(label: Any) -> str:
    """A label as text, the same for all who read labels; JSON's ``true`` and ``false`` keep their spelling."""
    return str(label).lower() if isinstance(label, bool) else str(label).strip()
