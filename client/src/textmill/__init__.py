"""Textmill: bulk NLP jobs on your own server. See :class:`Textmill`."""

from textmill.catalog import Health, Kind, Worker
from textmill.client import Textmill
from textmill.errors import (
    ApiError,
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
from textmill.job import Counts, Job, JobError, Progress, Usage
from textmill.models import Model, ModelVersion
from textmill.paging import Page
from textmill.retry import RetryPolicy
from textmill.training import Training
from textmill.version import __version__

__all__ = [
    "ApiError",
    "ConfigError",
    "Conflict",
    "ConnectionFailed",
    "Counts",
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
    "Kind",
    "Model",
    "ModelVersion",
    "NotFound",
    "Page",
    "Progress",
    "RateLimited",
    "RetryPolicy",
    "Textmill",
    "TextmillError",
    "Training",
    "TransferFailed",
    "Unauthenticated",
    "Unavailable",
    "Usage",
    "WaitTimeout",
    "Worker",
    "__version__",
]
