"""Which run of a schedule a job belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a job came from that nobody submitted by hand; it stands in ``job.json``."""

    schedule: str
    run: str  #: id of the firing
    date: str  #: ISO day of the firing, in the schedule's own time zone
    step: str = ""  #: which job of the run it is; the first has no name
    full: bool = False  #: every row is to be computed, whatever is known of it
    incremental: bool = False  #: outputs of rows that did not change are taken from the run before
    preview: bool = False  #: only what would be processed is wanted: nothing is computed

    def public(self) -> dict[str, str | None]:
        """As a job's record shows it."""
        return {
            "id": self.schedule,
            "run": None if self.preview else self.run,
            "step": self.step or None,
        }
