"""What an API key may be used for."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """One permission. A key without any scope named has them all."""

    JOBS_READ = "jobs:read"  #: see jobs, their results and events, and deliveries of their webhooks
    JOBS_WRITE = "jobs:write"  #: submit, cancel, retry and delete jobs
    FILES_READ = "files:read"  #: see and download files
    FILES_WRITE = "files:write"  #: upload and delete files
    MODELS_READ = "models:read"  #: see models
    MODELS_WRITE = "models:write"  #: import and delete models, move aliases
    WORKERS_READ = "workers:read"  #: see workers and kinds
    USAGE_READ = "usage:read"  #: see usage and quotas
    KEYS_WRITE = "keys:write"  #: see, make and revoke the tenant's keys, and read its audit log


ALL_SCOPES = frozenset(Scope)
