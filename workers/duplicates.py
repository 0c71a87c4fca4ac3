"""Rows that repeat the ``custom_id`` of an earlier one: allowed, counted and told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Rows among which repeated custom_ids are counted; bounds the memory that counting takes.
_COUNTED_ROWS = 200_000


@dataclass
class DuplicateCounter:
    """Counts repeated ``custom_id`` values among the first rows."""

    repeated: int = 0
    _seen: set[int] = field(default_factory=set)

    def count(self, index: int, custom_id: str) -> None:
        if index >= _COUNTED_ROWS:
            return
        key = hash(custom_id)
        if key in self._seen:
            self.repeated += 1
        self._seen.add(key)

    def warnings(self) -> list[dict[str, Any]]:
        if not self.repeated:
            return []
        message = (
            f"{self.repeated} rows among the first {_COUNTED_ROWS:,} repeat a custom_id of an earlier row; "
            "index tells them apart"
        )
        return [{"code": "repeated_custom_id", "message": message, "count": self.repeated}]
