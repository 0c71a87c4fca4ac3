"""The index that a completed incremental run leaves in the store, and which of them there are.

An index is a folder of its own below its schedule. ``index.json`` is written last and names all other objects with
their sizes and digests. There are four families, each cut into objects of some MiB:

* ``digests``: the digests of all rows with a result, 16 bytes each, sorted, each once;
* ``outputs``: what they gave, ``{"output", "usage"}``, a line each in the same order, zstd-compressed, one object for
  each of ``digests``;
* ``failed``: digests of rows that had no result, sorted;
* ``names``: the names of all rows, sorted.

So whoever only wants to know what a corpus has in common with the run before reads no outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import structlog
import zstandard

from jobs.corpora import DIGEST_BYTES
from jobs.schedule_names import ScheduleNames, index_key
from storage.objects import ObjectMissing, ObjectStore

log = structlog.get_logger(__name__)

DIGESTS, OUTPUTS, FAILED, NAMES = "digests", "outputs", "failed", "names"

_RECORD = "index.json"
_FORMAT = 1

#: Whole indexes of a step that are kept: the newest, and one to fall back on.
_KEPT = 2


class DamagedIndex(RuntimeError):
    """An object of an index is not there, or not what was written."""


@dataclass(frozen=True, kw_only=True)
class IndexObject:
    """One object of an index."""

    name: str  #: below the index's folder: ``<family>/<number>``
    bytes: int  #: as stored
    sha256: str

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What rows cost that were computed, in sum, to foretell what others will."""

    rows: float = 0
    text_bytes: float = 0
    input_tokens: float = 0
    output_tokens: float = 0
    device_ms: float = 0

    def joined(self, earlier: Measured) -> Measured:
        """With what earlier runs measured, which counts half."""
        return Measured(
            **{name: value + getattr(earlier, name) / 2 for name, value in vars(self).items()}
        )


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """``index.json``."""

    key: str  #: names the index among those of its step
    job: str
    run: str
    fingerprint: (
        str  #: what all outputs follow from beside their rows: see :func:`jobs.corpora.fingerprint`
    )
    rows: int  #: of the run, in all
    digests: int  #: different rows with a result
    failed: int  #: different rows without one
    names: int  #: different names
    measured: Measured
    objects: list[IndexObject] = field(default_factory=list)

    def family(self, name: str) -> list[IndexObject]:
        """The objects of a family, in order."""
        return [one for one in self.objects if one.family == name]

    def to_json(self) -> bytes:
        return orjson.dumps({"format": _FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, data: bytes) -> IndexRecord:
        entry: dict[str, Any] = orjson.loads(data)
        if entry.pop("format") != _FORMAT:
            raise ValueError("an index of another format")
        measured = Measured(**entry.pop("measured"))
        objects = [IndexObject(**one) for one in entry.pop("objects")]
        return cls(**entry, measured=measured, objects=objects)


class CorpusIndexes:
    """The indexes of one step of a schedule."""

    def __init__(self, store: ObjectStore, tenant: str, schedule_id: str, step: str = "") -> None:
        self.store = store
        names = ScheduleNames(tenant, schedule_id)
        self._folder = names.indexes(step)
        self._pins = names.pins(step)

    # --- finding ---------------------------------------------------------------------------------

    def newest(self, *, but: str = "") -> Iterator[IndexRecord]:
        """The indexes that are whole, newest first.

        Args:
            but: run whose own are left out.
        """
        own = index_key(but, 0).partition("-")[0] if but else None
        for key in self._keys():
            if key.partition("-")[0] == own:
                continue
            record = self.find(key)
            if record is not None and self._whole(record):
                yield record

    def find(self, key: str) -> IndexRecord | None:
        """An index by its key, or None where there is no such one any more, or none that this version can read."""
        try:
            return IndexRecord.from_json(self.store.get(self._name(key, _RECORD)))
        except ObjectMissing:
            return None
        except (ValueError, TypeError, LookupError) as error:
            log.warning("index not understood", folder=self._name(key, ""), reason=str(error))
            return None

    def _keys(self) -> list[str]:
        found = self.store.list(self._folder, recursive=False)
        return sorted(one.name.removeprefix(self._folder).rstrip("/") for one in found)

    def _whole(self, record: IndexRecord) -> bool:
        """Whether all of its objects are there; what they hold is checked when they are read."""
        folder = self._name(record.key, "")
        sizes = {one.name.removeprefix(folder): one.size for one in self.store.list(folder)}
        return all(sizes.get(one.name) == one.bytes for one in record.objects)

    # --- reading ---------------------------------------------------------------------------------

    def read(self, record: IndexRecord, wanted: IndexObject) -> bytes:
        """One object of an index, checked.

        Raises:
            DamagedIndex: it is not there, or not what was written.
        """
        try:
            data = self.store.get(self._name(record.key, wanted.name))
        except ObjectMissing:
            raise DamagedIndex(f"{wanted.name} of index {record.key} is not there") from None
        if hashlib.sha256(data).hexdigest() != wanted.sha256:
            raise DamagedIndex(f"{wanted.name} of index {record.key} does not have its digest")
        return data

    def sorted(self, record: IndexRecord, family: str) -> Iterator[list[bytes]]:
        """The digests or names of a family, in order, those of one object at a time.

        Raises:
            DamagedIndex: while iterating.
        """
        for one in record.family(family):
            yield split(self.read(record, one))

    def outputs(self, record: IndexRecord) -> Iterator[list[tuple[bytes, bytes]]]:
        """Digests with what they gave, in order, those of one object at a time.

        Raises:
            DamagedIndex: while iterating.
        """
        pairs = zip(record.family(DIGESTS), record.family(OUTPUTS), strict=True)
        for digests, outputs in pairs:
            lines = _expanded(self.read(record, outputs)).split(b"\n")
            known = split(self.read(record, digests))
            if len(lines) != len(known) + 1:
                raise DamagedIndex(f"{outputs.name} of index {record.key} has other rows")
            yield list(zip(known, lines, strict=False))

    # --- writing ---------------------------------------------------------------------------------

    def put(self, key: str, name: str, data: bytes) -> IndexObject:
        """Write one object of an index. Written again it is the same."""
        self.store.put(self._name(key, name), data)
        return IndexObject(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def complete(self, record: IndexRecord) -> None:
        """Make an index whole whose objects were all put."""
        self.store.put(self._name(record.key, _RECORD), record.to_json(), "application/json")

    # --- keeping ---------------------------------------------------------------------------------

    def pin(self, job_id: str, key: str) -> None:
        """Keep an index for as long as a job may want to read it."""
        self.store.put(self._pins + job_id, key.encode())

    def pins(self) -> Mapping[str, str]:
        """Which index each job reads."""
        found = [one.name for one in self.store.list(self._pins)]
        pinned = {}
        for name in found:
            try:
                pinned[name.removeprefix(self._pins)] = self.store.get(name).decode()
            except ObjectMissing:
                continue
        return pinned

    def unpin(self, job_id: str) -> None:
        """Say that a job needs no index any more."""
        self.store.delete(self._pins + job_id)

    def prune(self, pinned: frozenset[str]) -> None:
        """Remove what newer indexes have replaced, but for those that are pinned."""
        whole = 0
        for key in self._keys():
            if whole >= _KEPT and key not in pinned:
                self.remove(key)
                log.info("index removed", folder=self._name(key, ""))
            elif self.find(key) is not None:
                whole += 1

    def remove(self, key: str) -> None:
        """Remove an index: from the first moment on nobody finds it."""
        self.store.delete(self._name(key, _RECORD))
        for found in self.store.list(self._name(key, "")):
            self.store.delete(found.name)

    def _name(self, key: str, name: str) -> str:
        return f"{self._folder}{key}/{name}"


def split(data: bytes) -> list[bytes]:
    """Digests that lie one behind the other."""
    return [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]


def _expanded(data: bytes) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise DamagedIndex(f"an index cannot be decompressed ({error})") from error
