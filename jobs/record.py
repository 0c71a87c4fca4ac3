"""The record of a job: what the ledger keeps while it lives, the manifest keeps for ever, and users see."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from jobs.states import Lane, Priority, Status


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One job at one moment. Times are Unix milliseconds by Redis's clock."""

    id: str
    tenant: str
    kind: str
    status: Status
    created_at: int
    model: dict[str, Any] | None = None  #: ``ref`` as resolved; later ``engine``, ``precision``…
    name: str | None = None
    priority: Priority = Priority.NORMAL
    metadata: dict[str, str] = field(default_factory=dict)
    outcome: str | None = None  #: ``cancelled``, ``failed`` or ``expired`` once decided
    error: dict[str, Any] | None = None  #: ``code``, ``message``, ``field`` of a failed job
    warnings: list[dict[str, Any]] = field(default_factory=list)  #: what planning noticed
    started_at: int | None = None  #: when the first range was claimed
    ended_at: int | None = None
    total: int | None = None  #: rows of the input; None until planning has ended
    completed: int = 0
    failed: int = 0
    expires_at: int | None = None  #: when its completion window passes
    attempts: int = 1  #: generation: one more with each retry
    base: int = 0  #: rows that got a result in earlier generations
    waiting: str | None = None  #: what keeps it from going on just now
    evaluation: dict[str, Any] | None = (
        None  #: how good the results are, where asked; see :mod:`workers.measuring`
    )
    training: dict[str, Any] | None = (
        None  #: how far a training is; see :mod:`workers.training_view`
    )
    estimate: dict[str, Any] | None = (
        None  #: of a preview: what a run would process; see :mod:`jobs.estimates`
    )
    corpus: dict[str, Any] | None = (
        None  #: of an incremental job at its end; see :class:`jobs.corpora.Corpus`
    )
    output: dict[str, str] | None = (
        None  #: ``format``, ``uri`` and ``layout`` where the output goes too
    )
    #: ``id`` of the schedule whose job it is, ``run`` (None: of a preview) and ``step`` (None: the first).
    schedule: dict[str, str | None] | None = None
    webhook: bool = False  #: whether somebody is told of its end
    lane: Lane = Lane.BULK
    input_tokens: int = 0
    output_tokens: int = 0
    device_ms: int = 0
    version: int = 0  #: grows with each change; the ETag of the job
    now: int = 0  #: Redis's clock when the record was read

    @property
    def seconds_running(self) -> float:
        """Seconds from the first claim until the end, or until now."""
        if self.started_at is None:
            return 0.0
        return max(0, (self.ended_at or self.now) - self.started_at) / 1000

    def progress(self) -> dict[str, float | None]:
        """``fraction`` of rows done, ``rows_per_second`` since the start and ``eta_seconds``.

        Of a training that runs: the share of its steps, and the time that it gives itself.
        """
        done = self.completed + self.failed
        seconds = self.seconds_running
        if self.training is not None and not done and not self.status.ended:
            return {
                "fraction": _share_of_steps(self.training),
                "rows_per_second": None,
                "eta_seconds": self.training.get("eta_seconds"),
            }
        rate = done / seconds if seconds > 0 and done else None
        fraction = None if self.total is None else (done / self.total if self.total else 1.0)
        eta: float | None = None
        if self.status.ended:
            eta = 0.0
        elif rate and self.total is not None:
            eta = (self.total - done) / rate
        return {
            "fraction": None if fraction is None else round(fraction, 6),
            "rows_per_second": None if rate is None else round(rate, 3),
            "eta_seconds": None if eta is None else round(eta, 1),
        }

    def public(self) -> dict[str, Any]:
        """The job as the API shows it."""
        path = f"/v1/jobs/{self.id}"
        return {
            "id": self.id,
            "object": "job",
            "kind": self.kind,
            "name": self.name,
            "status": self.status.value,
            "model": self.model,
            "priority": self.priority.value,
            "metadata": self.metadata,
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
            "progress": self.progress(),
            "created_at": rfc3339(self.created_at),
            "started_at": rfc3339(self.started_at),
            "ended_at": rfc3339(self.ended_at),
            "expires_at": rfc3339(self.expires_at),
            "attempts": self.attempts,
            "waiting": self.waiting,
            "training": self.training,
            "evaluation": self.evaluation,
            "corpus": self.corpus,
            "estimate": self.estimate,
            "usage": {
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
                "device_seconds": round(self.device_ms / 1000, 3),
            },
            # Records of before there were layouts have none.
            "schedule": self.schedule,
            "output": self.output and {"layout": "job", **self.output},
            "error": self.error,
            "warnings": self.warnings,
            "links": {
                "self": path,
                "results": f"{path}/results",
                "errors": f"{path}/errors",
                **({} if self.evaluation is None else {"evaluation": f"{path}/evaluation"}),
                **({"deliveries": f"{path}/deliveries"} if self.webhook else {}),
                "cancel": f"{path}/cancel",
                "retry": f"{path}/retry",
            },
        }

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> JobRecord:
        """The inverse of :meth:`to_json`."""
        record = cls(**data)
        return replace(
            record,
            status=Status(record.status),
            priority=Priority(record.priority),
            lane=Lane(record.lane),
        )


#: What of a training's progress its steps are; evaluation and saving come after the last one.
_STEPS_SHARE = 0.99


def _share_of_steps(training: dict[str, Any]) -> float:
    step, steps = training.get("step") or 0, training.get("steps") or 0
    return round(min(1.0, step / steps) * _STEPS_SHARE, 6) if steps else 0.0


def rfc3339(milliseconds: int | None) -> str | None:
    """A time as RFC 3339 in UTC with milliseconds."""
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
