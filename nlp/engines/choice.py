"""Which way of computing is taken: pure decisions over what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, cast, get_args

from jobs.kinds import Precision


@dataclass(frozen=True)
class Way:
    """An engine together with a precision."""

    engine: str
    precision: Precision

    @classmethod
    def of(cls, record: Any) -> Self | None:
        """A way as it was written down, or None where this version does not know it."""
        if not isinstance(record, dict) or record.get("precision") not in get_args(Precision):
            return None
        return cls(str(record.get("engine")), cast(Precision, record["precision"]))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How one way did on a job's first rows."""

    way: Way
    rows_per_second: float = 0.0
    fault: str | None = (
        None  #: why it may not be taken: it could not run, or its results were wrong
    )

    def record(self) -> dict[str, Any]:
        """As it is remembered."""
        return {**asdict(self.way), "rows_per_second": self.rows_per_second, "fault": self.fault}

    @classmethod
    def of(cls, record: Any) -> Self | None:
        """As it was remembered, or None where this version does not understand it."""
        way = Way.of(record)
        if way is None or not isinstance(record.get("rows_per_second"), int | float):
            return None
        speed, fault = float(record["rows_per_second"]), record.get("fault")
        return cls(way=way, rows_per_second=speed, fault=None if fault is None else str(fault))


def candidates(engines: Sequence[str], *, reduced: bool) -> list[Way]:
    """The ways that are worth measuring; one alone needs no measuring.

    Args:
        engines: those of the kind, the reference first.
        reduced: whether the reference engine by itself would compute in less than fp32 on this device.
    """
    ways = [Way(engine, "auto") for engine in engines]
    return [*ways, Way(engines[0], "exact")] if reduced else ways


def ranked(measured: Sequence[Measurement], fallback: Way) -> list[Way]:
    """The ways to try, best first: those without a fault, fastest first, and in the end the reference in fp32."""
    good = sorted(
        (one for one in measured if one.fault is None), key=lambda one: -one.rows_per_second
    )
    ways = [one.way for one in good]
    return ways if fallback in ways else [*ways, fallback]


def faults(measured: Sequence[Measurement]) -> dict[str, str]:
    """Why ways were passed over, by engine and precision."""
    return {_name(one.way): one.fault for one in measured if one.fault is not None}


def speeds(measured: Sequence[Measurement]) -> dict[str, float]:
    """Rows a second, by engine and precision."""
    return {
        _name(one.way): round(one.rows_per_second, 2) for one in measured if one.rows_per_second > 0
    }


def _name(way: Way) -> str:
    return way.engine if way.precision == "auto" else f"{way.engine} {way.precision}"
