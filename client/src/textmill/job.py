"""A job at one moment, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.corpus import Corpus, to_corpus
from textmill.estimate import Estimate, to_estimate
from textmill.evaluation import Evaluation, to_evaluation
from textmill.paging import parse_time
from textmill.training import Training, to_training

if TYPE_CHECKING:
    from textmill.events import Event
    from textmill.jobs import Jobs, OutputFormat

#: States that never change again.
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Rows of a job."""

    total: int | None = None  #: None until the input has been read to its end
    completed: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """Rows that are in the results or in the errors."""
        return self.completed + self.failed


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is."""

    fraction: float | None = None  #: 0 to 1; None until the total is known
    rows_per_second: float | None = None  #: on average since it started
    eta_seconds: float | None = None  #: until its end, at this speed


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a job used."""

    input_tokens: int = 0
    output_tokens: int = 0
    device_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job failed."""

    code: str  #: stable, such as ``model_not_found``
    message: str
    field: str | None = None  #: the field of the submission at fault


@dataclass(frozen=True, kw_only=True)
class JobState:
    """What the server says of a job: what :class:`Job` and :class:`textmill.AsyncJob` have in common."""

    id: str
    kind: str
    status: str  #: ``validating``, ``in_progress``, ``finalizing``, ``completed``, ``failed``…
    name: str | None = None
    model: Mapping[str, Any] | None = field(default=None, hash=False)  #: ``ref`` as resolved, …
    priority: str = "normal"
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    counts: Counts = Counts()
    progress: Progress = Progress()
    usage: Usage = Usage()
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None  #: when its completion window passes
    attempts: int = 1
    waiting: str | None = None  #: what keeps it from going on just now
    training: Training | None = None  #: how far a fine-tuning is; None for other kinds
    evaluation: Evaluation | None = None  #: of the results, where ``evaluate`` was asked for
    corpus: Corpus | None = None  #: of an incremental run of a schedule, once it has ended
    estimate: Estimate | None = None  #: of a preview of a schedule, once it has ended
    error: JobError | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.status in ENDED

    @property
    def seconds(self) -> float | None:
        """Seconds from the first row's start to the end; None before both."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


@dataclass(frozen=True, kw_only=True)
class Job(JobState):
    """One job as the server described it. Never changes: :meth:`refresh` and :meth:`wait` give a newer one."""

    _jobs: Jobs = field(repr=False, compare=False)

    def refresh(self) -> Job:
        """The job as it is now."""
        return self._jobs.get(self.id)

    def wait(
        self, *, progress: bool | Callable[[Job], object] = False, timeout: float | None = None
    ) -> Job:
        """Wait until the job has ended, and return it as it ended.

        Args:
            progress: True shows progress on stderr; a function is called with the job after each change.
            timeout: seconds to wait at most.

        Raises:
            JobFailed: it ended as failed, cancelled or expired.
            WaitTimeout: it has not ended in time. The job goes on.
        """
        return self._jobs.wait(self, progress=progress, timeout=timeout)

    def events(self, *, follow: bool = True, after: str | None = None) -> Iterator[Event]:
        """What happens to the job, from its submission to its end, each event once.

        A connection that breaks is made again and goes on behind the last event.

        Args:
            follow: False ends after what has happened so far.
            after: id of an event: only what came behind it.

        Raises:
            NotFound: there is no such job.
            ConnectionFailed: the server was away for longer than :attr:`RetryPolicy.outage_seconds`.
        """
        return self._jobs.events(self.id, follow=follow, after=after)

    def cancel(self) -> Job:
        """Cancel the job; rows done so far are kept."""
        return self._jobs.cancel(self.id)

    def retry(self) -> Job:
        """Run again what failed in this ended job, only that; returns the same job, under way again.

        Raises:
            Conflict: it has not ended, or nothing of it can be run again.
        """
        return self._jobs.retry(self.id)

    def delete(self) -> None:
        """Delete this ended job with its results and all else that was kept of it.

        Raises:
            Conflict: it has not ended.
        """
        self._jobs.delete(self.id)

    def results(self, *, partial: bool = False) -> Iterator[dict[str, Any]]:
        """The result rows in input order: ``{"custom_id", "index", "output", "usage"}``.

        Memory stays bounded, and a download that breaks goes on where it was.

        Args:
            partial: while the job runs: the rows done so far, with gaps.

        Raises:
            Conflict: the job has not ended and ``partial`` was not asked for.
        """
        return self._jobs.rows(self.id, "results", partial=partial)

    def errors(self, *, partial: bool = False) -> Iterator[dict[str, Any]]:
        """The rows that failed: ``{"custom_id", "index", "error": {"code", "message"}}``."""
        return self._jobs.rows(self.id, "errors", partial=partial)

    def download(
        self,
        path: str | Path,
        *,
        partial: bool = False,
        format: OutputFormat | None = None,  # noqa: A002 - the API's own name
    ) -> Path:
        """Save the results. The file appears whole or not at all.

        Args:
            partial: while the job runs: the rows done so far, with gaps.
            format: ``jsonl``, ``csv`` or ``parquet``; by default from the path's ending, JSONL where it names none.
        """
        return self._jobs.download(self.id, path, partial=partial, format=format)


def to_job(raw: Mapping[str, Any], jobs: Jobs) -> Job:
    """A job from the API's object. Fields that this client does not know stay in ``raw``."""
    return Job(**job_fields(raw), _jobs=jobs)


def job_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :class:`JobState` from the API's object."""
    counts, progress = raw.get("request_counts") or {}, raw.get("progress") or {}
    usage, error = raw.get("usage") or {}, raw.get("error")
    return {
        "id": str(raw["id"]),
        "kind": str(raw["kind"]),
        "status": str(raw["status"]),
        "name": raw.get("name"),
        "model": raw.get("model"),
        "priority": raw.get("priority") or "normal",
        "metadata": raw.get("metadata") or {},
        "counts": Counts(
            total=counts.get("total"),
            completed=counts.get("completed") or 0,
            failed=counts.get("failed") or 0,
        ),
        "progress": Progress(
            fraction=progress.get("fraction"),
            rows_per_second=progress.get("rows_per_second"),
            eta_seconds=progress.get("eta_seconds"),
        ),
        "usage": Usage(
            input_tokens=usage.get("input_tokens") or 0,
            output_tokens=usage.get("output_tokens") or 0,
            device_seconds=usage.get("device_seconds") or 0.0,
        ),
        "created_at": parse_time(raw.get("created_at")),
        "started_at": parse_time(raw.get("started_at")),
        "ended_at": parse_time(raw.get("ended_at")),
        "expires_at": parse_time(raw.get("expires_at")),
        "attempts": raw.get("attempts") or 1,
        "waiting": raw.get("waiting"),
        "training": to_training(raw.get("training")),
        "evaluation": to_evaluation(raw.get("evaluation")),
        "corpus": to_corpus(raw.get("corpus")),
        "estimate": to_estimate(raw.get("estimate")),
        "error": error
        and JobError(
            code=error.get("code") or "failed",
            message=error.get("message") or "",
            field=error.get("field"),
        ),
        "raw": raw,
    }
