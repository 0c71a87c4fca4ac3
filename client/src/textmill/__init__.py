"""Textmill: bulk NLP jobs on your own server. See :class:`Textmill` and :class:`AsyncTextmill`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill import lean as _lean  # noqa: F401 - first of all: see there
from textmill.catalog import Health, Kind, Worker
from textmill.client import Textmill
from textmill.corpus import Corpus
from textmill.errors import (
    ApiError,
    AsyncJobFailed,
    ConfigError,
    Conflict,
    ConnectionFailed,
    FieldError,
    Forbidden,
    InputError,
    InvalidRequest,
    JobFailed,
    NotFound,
    RateLimited,
    TextmillError,
    TransferFailed,
    Unauthenticated,
    Unavailable,
    WaitTimeout,
)
from textmill.evaluation import Evaluation
from textmill.events import Event
from textmill.files import File
from textmill.job import Counts, Job, JobError, JobState, Progress, Usage
from textmill.keys import Key, NewKey
from textmill.models import Model, ModelVersion
from textmill.paging import Page
from textmill.retry import RetryPolicy
from textmill.schedules import Run, RunJob, Schedule
from textmill.training import Training
from textmill.usage import DayUsage, Quota, TenantUsage, UsageCounts
from textmill.version import __version__

if TYPE_CHECKING:
    from textmill.aio import AsyncJob, AsyncTextmill

__all__ = [
    "ApiError",
    "AsyncJob",
    "AsyncJobFailed",
    "AsyncTextmill",
    "ConfigError",
    "Conflict",
    "ConnectionFailed",
    "Corpus",
    "Counts",
    "DayUsage",
    "Evaluation",
    "Event",
    "FieldError",
    "File",
    "Forbidden",
    "Health",
    "InputError",
    "InvalidRequest",
    "Job",
    "JobError",
    "JobFailed",
    "JobState",
    "Key",
    "Kind",
    "Model",
    "ModelVersion",
    "NewKey",
    "NotFound",
    "Page",
    "Progress",
    "Quota",
    "RateLimited",
    "RetryPolicy",
    "Run",
    "RunJob",
    "Schedule",
    "TenantUsage",
    "Textmill",
    "TextmillError",
    "Training",
    "TransferFailed",
    "Unauthenticated",
    "Unavailable",
    "Usage",
    "UsageCounts",
    "WaitTimeout",
    "Worker",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in (
        "AsyncJob",
        "AsyncTextmill",
    ):  # they load asyncio, which the sync client does without
        from textmill import aio  # noqa: PLC0415

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
