"""Tenants: who they are, and what each may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import orjson

#: The tenant that there is from the beginning.
DEFAULT_TENANT = "default"

#: The tenant whose models every tenant may read.
SHARED_TENANT = "shared"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a tenant may use; None: as much as it likes."""

    read_rate: float | None = None  #: calls a second that only look, averaged over some seconds
    write_rate: float | None = None  #: calls a second that change something
    rows_queued: float | None = None  #: rows of its jobs that wait to be computed
    jobs_unfinished: float | None = None
    bytes_stored: float | None = None  #: of its files and of all that its jobs keep
    device_seconds_per_day: float | None = None  #: a day is one of UTC


#: The names of all limits.
LIMITS: tuple[str, ...] = tuple(one.name for one in fields(Limits))


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant's record. A tenant without one has the limits of the settings."""

    name: str
    created_at: str
    #: Its own limits by name; None lifts one, and those that are not named are those of the settings.
    limits: Mapping[str, float | None] = field(default_factory=dict)
    #: ``s3://bucket/prefix`` that its jobs may read; None: those of the settings, which are the default tenant's.
    s3_allowed_prefixes: tuple[str, ...] | None = None
    disabled_at: str | None = None  #: since when its keys open nothing

    def to_json(self) -> bytes:
        """As it is kept."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes | str) -> Tenant:
        """The inverse of :meth:`to_json`."""
        entry: dict[str, Any] = orjson.loads(data)
        prefixes = entry.pop("s3_allowed_prefixes")
        return cls(**entry, s3_allowed_prefixes=None if prefixes is None else tuple(prefixes))

    def limits_in_force(self, defaults: Limits) -> Limits:
        """Its own limits, and those of the settings where it has none."""
        return Limits(**{**asdict(defaults), **self.limits})
