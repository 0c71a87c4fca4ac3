"""Names of a schedule's objects in the store. Listings come in the order of names, so what is newer counts down."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from jobs.names import check_tenant

#: Digits of a count or a time in ms, and the largest: names count down, so that a listing gives the newest first.
_COUNT_DIGITS, _MOMENT_DIGITS = 12, 13
_LAST_COUNT, _LAST_MOMENT = 10**_COUNT_DIGITS - 1, 10**_MOMENT_DIGITS - 1


@dataclass(frozen=True)
class ScheduleNames:
    """Where the objects of one schedule lie."""

    tenant: str
    schedule_id: str

    def __post_init__(self) -> None:
        check_tenant(self.tenant)

    @property
    def prefix(self) -> str:
        return f"tenants/{self.tenant}/schedules/{self.schedule_id}/"

    @property
    def revisions(self) -> str:
        """Folder of what was asked of it, newest first."""
        return self.prefix + "revisions/"

    def revision(self, number: int) -> str:
        return f"{self.revisions}{_LAST_COUNT - number:0{_COUNT_DIGITS}d}.json"

    @property
    def runs(self) -> str:
        """Folder of what was decided of each firing, newest first."""
        return self.prefix + "runs/"

    @property
    def open(self) -> str:
        """Folder of empty objects, named as runs are: those that may not have ended."""
        return self.prefix + "open/"

    @property
    def ends(self) -> str:
        """Folder of how runs ended; the status is part of the name."""
        return self.prefix + "ends/"

    @property
    def late(self) -> str:
        """There while a webhook was told that the schedule is late, and not yet that it is no longer so."""
        return self.prefix + "late.json"

    def trigger(self, digest: str) -> str:
        """Which run was made by hand for an ``Idempotency-Key``, by the key's digest."""
        return f"{self.prefix}triggers/{digest}.json"

    def stopped(self, run_id: str) -> str:
        """Says that a run of several jobs goes no further: a later one took its place."""
        return f"{self.prefix}stopped/{run_key(run_id)}"

    @property
    def swept(self) -> str:
        """Says how far older runs are removed."""
        return self.prefix + "swept.json"

    def run(self, run_id: str) -> str:
        return self.runs + run_key(run_id)

    def opened(self, run_id: str) -> str:
        return self.open + run_key(run_id)

    def end(self, run_id: str, status: str) -> str:
        return f"{self.ends}{run_key(run_id)}.{status}"

    def corpus(self, step: str) -> str:
        """Folder of what incremental runs know of one step of the schedule; the first step has no name."""
        folder = "step-" + quote(step, safe="") if step else "first"
        return f"{self.prefix}corpus/{folder}/"

    def indexes(self, step: str) -> str:
        """Folder of the indexes that completed runs left, newest first."""
        return self.corpus(step) + "indexes/"

    def pins(self, step: str) -> str:
        """Folder of objects named by jobs: which index each of them takes outputs from."""
        return self.corpus(step) + "pins/"


def run_moment(run_id: str) -> int:
    """When a run fired, in ms: what its id says."""
    return int(run_id.removesuffix("m"))


def run_key(run_id: str) -> str:
    """The last part of the names of a run's objects. A run's id is its time in ms, with an ``m`` where it was made by
    hand."""
    digits = run_id.removesuffix("m")
    return f"{_LAST_MOMENT - int(digits):0{_MOMENT_DIGITS}d}{'.m' if run_id.endswith('m') else ''}"


#: The most generations of a job that :func:`index_key` puts in order.
_LAST_GENERATION = 10**6 - 1


def index_key(run_id: str, generation: int) -> str:
    """Names the index that a generation of a run's job left, so that the newest sorts first."""
    return f"{run_key(run_id)}-{_LAST_GENERATION - generation:06d}"


def run_id_of(key: str) -> tuple[str, str | None]:
    """The inverse of :func:`run_key`: a run's id, and the status behind it in the name of an end."""
    digits, *rest = key.split(".")
    manual = rest[:1] == ["m"]
    status = rest[-1] if rest[1 if manual else 0 :] else None
    return f"{_LAST_MOMENT - int(digits)}{'m' if manual else ''}", status
