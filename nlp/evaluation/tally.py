"""What is kept while rows are measured: counts, for all rows and for each group of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from nlp.training.task import Evaluation

#: Groups that are told apart; rows of further ones count in the whole only.
MAX_GROUPS = 200

#: A group with fewer rows is listed, but neither the worst nor part of the gap: chance alone would make it so.
JUDGED_ROWS = 10

Found = TypeVar("Found")
Gold = TypeVar("Gold")


class Tally(ABC, Generic[Found, Gold]):
    """Counts over rows, from which the numbers of an evaluation follow."""

    #: Of the metrics, the one that groups are compared by: higher is better, and few rows do not distort it.
    fair: ClassVar[str]

    @abstractmethod
    def add(self, found: Found, gold: Gold) -> None:
        """Count one row: what came out, and what should have.

        Raises:
            TooManyLabels: there are more different labels than can be told apart.
        """

    @abstractmethod
    def evaluation(self) -> Evaluation:
        """The numbers so far. Without rows there are no metrics."""


class Grouped(Generic[Found, Gold]):
    """One tally over all rows, and one for each group of them.

    Args:
        make: gives an empty tally.
        field: name of the row field whose values are the groups; None where there are no groups.
    """

    def __init__(self, make: Callable[[], Tally[Found, Gold]], field: str | None = None) -> None:
        self._make = make
        self._field = field
        self._rows = 0
        self._whole = make()
        self._groups: dict[str, tuple[Tally[Found, Gold], list[int]]] = {}
        self._left_out = 0

    def add(self, found: Found, gold: Gold, group: object = None) -> None:
        """Count one row in the whole and in its group, which may be any JSON scalar."""
        self._rows += 1
        self._whole.add(found, gold)
        if self._field is None:
            return
        name = "" if group is None else str(group)
        if name not in self._groups:
            if len(self._groups) >= MAX_GROUPS:
                self._left_out += 1
                return
            self._groups[name] = self._make(), [0]
        tally, rows = self._groups[name]
        tally.add(found, gold)
        rows[0] += 1

    def evaluation(self) -> Evaluation:
        """The whole's numbers. With groups, ``worst_group_<metric>`` and ``group_gap_<metric>`` join the metrics, where
        two groups are large enough, and ``groups`` joins the details."""
        whole = self._whole.evaluation()
        details: dict[str, Any] = {"rows": self._rows, **whole.details}
        if self._field is None:
            return Evaluation(whole.metrics, details)
        groups = {
            name: {"rows": rows[0], "metrics": dict(tally.evaluation().metrics)}
            for name, (tally, rows) in sorted(self._groups.items())
        }
        summary = _compared(groups, self._whole.fair)
        details["groups"] = {"field": self._field, "by": self._whole.fair, **summary}
        if self._left_out:
            details["groups"]["rows_of_further_groups"] = self._left_out
        details["groups"]["groups"] = groups
        extra = {}
        if "gap" in summary:
            extra[f"worst_group_{self._whole.fair}"] = summary["worst_value"]
            extra[f"group_gap_{self._whole.fair}"] = summary["gap"]
        return Evaluation({**whole.metrics, **extra}, details)


def _compared(groups: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """The worst and the best of the groups that are large enough, and how far apart they are; empty when fewer than
    two are."""
    values = {
        name: float(group["metrics"][metric])
        for name, group in groups.items()
        if group["rows"] >= JUDGED_ROWS
    }
    if len(values) < 2:
        return {}
    worst = min(values, key=lambda name: values[name])
    best = max(values, key=lambda name: values[name])
    return {
        "worst": worst,
        "worst_value": values[worst],
        "best": best,
        "gap": values[best] - values[worst],
    }
