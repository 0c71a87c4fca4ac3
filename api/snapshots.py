"""Jobs as they are now, read together and rendered once for each of their versions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from jobs.errors import NotFound
from jobs.record import JobRecord
from storage.grouped import GroupedReads
from storage.ledger import JobTable
from storage.ledger.jobs import record_of

#: Rendered jobs that are kept, and the largest that are, in bytes.
_KEPT, _LARGEST = 2_000, 16_000


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment, and its public form as JSON."""

    record: JobRecord
    body: bytes

    @property
    def tag(self) -> str:
        """Its ETag, without quotes."""
        return _tag(self.record)

    @property
    def etag(self) -> str:
        """As it stands in the header."""
        return etag(self.record)


def etag(record: JobRecord) -> str:
    """A job's ETag, as it stands in the header."""
    return f'"{_tag(record)}"'


def _tag(record: JobRecord) -> str:
    """Changes with the job.

    A Redis that lost its last second counts the same versions again. The status beside it keeps whoever waits for the
    end from taking the end for what it has seen.
    """
    return f"{record.version}-{record.status}"


class Snapshots:
    """Reads jobs of all tenants; callers say whose they may be.

    Args:
        jobs: where they are read.
    """

    def __init__(self, jobs: JobTable) -> None:
        self._jobs = jobs
        self._reads: GroupedReads[str, Snapshot] = GroupedReads(self._read)
        self._rendered: OrderedDict[str, tuple[Mapping[str, str], Snapshot]] = OrderedDict()

    def get(self, tenant: str, job_id: str) -> Snapshot:
        """A job of this tenant as it is now.

        Raises:
            NotFound: the tenant has no such job.
            Unavailable: the ledger cannot say.
        """
        found = self._reads.get(job_id)
        if found is None or found.record.tenant != tenant:
            raise NotFound(f"no job {job_id}")
        return found

    def _read(self, ids: Sequence[str]) -> dict[str, Snapshot]:
        fields, now = self._jobs.fields(ids)
        return {job_id: self.rendered(one, now) for job_id, one in fields.items()}

    def rendered(self, fields: Mapping[str, str], now: int) -> Snapshot:
        """The job that the ledger holds so, read at ``now`` (ms)."""
        job_id = fields["id"]
        known = self._rendered.get(job_id)
        # All fields, not the version alone: see etag.
        if known is not None and known[0] == fields:
            self._rendered.move_to_end(job_id)
            return known[1]
        record = record_of(fields, now)
        made = Snapshot(record, orjson.dumps(record.public()))
        if len(made.body) <= _LARGEST:
            self._rendered[job_id] = (fields, made)
            self._rendered.move_to_end(job_id)
            if len(self._rendered) > _KEPT:
                self._rendered.popitem(last=False)
        return made
