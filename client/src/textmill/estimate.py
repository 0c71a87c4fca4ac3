"""What a run of a schedule would process, as a preview says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textmill.wording import duration, plural, short_count, size


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A run foretold."""

    rows: int = 0  #: of the input, bad ones included
    bad: int = 0  #: that cannot be read, and will fail
    computed: int = 0  #: good ones whose output is not taken over from the run before
    text_bytes: int = 0  #: of the texts of these
    basis: str | None = None  #: ``last_runs`` or ``speed``; None: costs are not known
    input_tokens: int | None = None
    output_tokens: int | None = None
    device_seconds: float | None = None

    def told(self) -> str:
        """The same in a line of words."""
        words = [f"{self.computed:,} of {plural(self.rows, 'row')} to compute"]
        words += [f"{self.bad:,} bad"] if self.bad else []
        words += [size(self.text_bytes)] if self.text_bytes else []
        if self.input_tokens is not None:
            tokens = self.input_tokens + (self.output_tokens or 0)
            words.append(f"about {short_count(tokens)} tokens")
        if self.device_seconds is not None:
            words.append(f"about {duration(self.device_seconds)} of device time")
        elif self.computed:
            words.append("device time not known yet")
        return ", ".join(words)


def to_estimate(raw: Mapping[str, Any] | None) -> Estimate | None:
    """The ``estimate`` block of a job; None for those that have none."""
    if not raw:
        return None
    counts: dict[str, int] = {
        name: int(raw.get(name) or 0) for name in ("rows", "bad", "computed", "text_bytes")
    }
    return Estimate(
        rows=counts["rows"],
        bad=counts["bad"],
        computed=counts["computed"],
        text_bytes=counts["text_bytes"],
        basis=raw.get("basis"),
        input_tokens=raw.get("input_tokens"),
        output_tokens=raw.get("output_tokens"),
        device_seconds=raw.get("device_seconds"),
    )
