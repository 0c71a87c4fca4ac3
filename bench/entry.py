"""What a benchmark found, and the file in which the last findings are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One comparison, both sides measured in one run."""

    id: str  #: ``<benchmark>-<what>``
    metric: str  #: what is measured, with its unit
    ours: float
    peer: float
    peer_name: str
    higher_is_better: bool
    goal: str  #: what must hold, in words
    met: bool
    scale: float  #: of the usual size; a scaled run is a trial
    detail: Mapping[str, Any] = field(default_factory=dict)  #: single runs and the like

    @property
    def ratio(self) -> float:
        """How many times better ours is; under 1 the peer is better."""
        better, worse = self.ours, self.peer
        return better / worse if self.higher_is_better else worse / better

    def to_json(self, machine: Mapping[str, Any], measured_at: str) -> dict[str, Any]:
        """As it stands in the file."""
        return {**asdict(self), "ratio": self.ratio, "machine": machine, "measured_at": measured_at}


def merge(path: Path, found: Iterable[dict[str, Any]]) -> None:
    """Put findings into the file; those of other benchmarks stay as they are. Kept in the order of their ids."""
    known: list[dict[str, Any]] = orjson.loads(path.read_bytes()) if path.exists() else []
    by_id = {entry["id"]: entry for entry in [*known, *found]}
    entries = [by_id[name] for name in sorted(by_id)]
    path.write_bytes(orjson.dumps(entries, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
