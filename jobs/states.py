"""The states of a job, named as in the OpenAI Batch API, and the changes allowed between them."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a job stands."""

    VALIDATING = "validating"  #: accepted; the input is being read and nothing has started yet
    IN_PROGRESS = "in_progress"  #: at least one range of rows exists for workers to claim
    FINALIZING = "finalizing"  #: no more work; the parts are being joined
    COMPLETED = "completed"  #: every row is in the results or in the errors
    FAILED = "failed"  #: ended early; ``error`` says why; rows done so far are kept
    EXPIRED = "expired"  #: its completion window passed; rows done so far are kept
    CANCELLING = "cancelling"  #: a cancel was accepted; workers are letting go
    CANCELLED = "cancelled"  #: ended by a cancel; rows done so far are kept

    @property
    def ended(self) -> bool:
        """Whether the state is final. An ended state never changes."""
        return self in ENDED


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED})

#: Every change of state that may happen; the ledger's scripts make each one by compare-and-set.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.VALIDATING: frozenset({Status.IN_PROGRESS, Status.FINALIZING, Status.CANCELLING}),
    Status.IN_PROGRESS: frozenset({Status.FINALIZING, Status.CANCELLING}),
    Status.FINALIZING: frozenset({Status.COMPLETED, Status.FAILED, Status.EXPIRED}),
    Status.CANCELLING: frozenset({Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.CANCELLED: frozenset(),
}

#: Beside them, two changes are made on purpose: a retry begins a new generation of an ended job in ``validating``, and
#: a finalizer that finds a part missing or damaged puts its job back in progress.


class Priority(StrEnum):
    """How urgent a job is. A higher priority is served first; within one, tenants and jobs share fairly."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Lane(StrEnum):
    """Which control workers plan and finalize a job. Small ones never wait behind large ones."""

    QUICK = "quick"  #: inline rows and small files
    BULK = "bulk"
