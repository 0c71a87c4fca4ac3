"""What a run would process, and what that would cost by what earlier ones did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

#: What costs are reckoned from: what the schedule's own last runs measured; or the speed at which jobs of this kind and
#: model went last, whoever's they were.
Basis = Literal["last_runs", "speed"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A run foretold."""

    rows: int  #: of the input, bad ones included
    bad: int  #: that cannot be read, and will fail
    computed: int  #: good ones whose output is not taken over from the run before
    text_bytes: int  #: of the texts of these, in UTF-8
    basis: Basis | None = None  #: None: nothing like it was computed before
    input_tokens: int | None = None
    output_tokens: int | None = None
    device_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As a job shows it."""
        return asdict(self)
