"""What an incremental job knows rows by, and what it tells of them.

A row's *digest* covers all that its output follows from: kind, model, parameters, text, and the fields that the kind
reads. Where it stood, in which object and under which id, it does not: so rows are found again wherever they moved.
A row's *name* is what tells a changed row from a new one: its ``custom_id``, or else its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from orjson import OPT_SORT_KEYS, dumps

from jobs.kinds import Kind, KindParams
from jobs.rows import Marks, Row

#: Bytes of a digest and of a name. Two rows by chance: one in 10^18 among ten billion.
DIGEST_BYTES = 16

#: Enters each fingerprint: raise it whenever digests are made in another way.
_FORMAT = 1


def fingerprint(kind: Kind, params: KindParams, model: str | None, content: str | None) -> str:
    """What the outputs of all rows of a job follow from, in hex.

    Args:
        kind: of the job.
        params: of the job, defaults included.
        model: the model's reference as pinned.
        content: what the model's content is known by.
    """
    recipe = {
        "format": _FORMAT,
        "kind": kind.name,
        "revision": kind.revision,
        "params": params.model_dump(mode="json"),
        "fields": sorted(kind.fields_of(params)),
        "model": model,
        "content": content,
    }
    return hashlib.blake2b(dumps(recipe, option=OPT_SORT_KEYS), digest_size=32).hexdigest()


class RowMarks:
    """Gives rows of one job their marks.

    Args:
        recipe: the job's :func:`fingerprint`.
        fields: that its kind reads beside the text.
    """

    def __init__(self, recipe: str, fields: frozenset[str]) -> None:
        self._digest = hashlib.blake2b(bytes.fromhex(recipe), digest_size=DIGEST_BYTES)
        self._fields = sorted(fields)

    def of(self, row: Row) -> Marks:
        """The marks of a row."""
        # JSON says where each value ends, and tells a field that is null from one that is not there.
        fields = {name: row.fields[name] for name in self._fields if name in row.fields}
        content = dumps([row.text, fields])
        digest = self._digest.copy()
        digest.update(content)
        name = _name(content, b"content") if row.custom_id is None else name_of(row.custom_id)
        return Marks(digest.digest(), name)


def name_of(custom_id: str) -> bytes:
    """The name of rows with this ``custom_id``."""
    return _name(custom_id.encode(), b"custom_id")


def _name(data: bytes, sort: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, person=sort).digest()


class Seen(Enum):
    """What the run before knows of a row."""

    NEW = "new"  #: nothing
    CHANGED = "changed"  #: its name, with another content or computed in another way
    FAILED = "retried"  #: it is the same, and had no result
    SAME = "same"  #: it is the same, and has a result


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What became of a corpus since the run before, in rows."""

    new: int = 0  #: known neither by name nor by content
    changed: int = 0  #: known by name, with another content, model or parameters
    retried: int = 0  #: the same as before, where they had no result
    carried: int = 0  #: with the output that they had before
    computed: int = 0  #: good rows that were not carried
    gone: int = 0  #: names that were there before, and are not now
    failed: int = 0  #: without a result in the end
    base: str | None = None  #: the job that all this is in comparison with; None: there was none

    def to_json(self) -> dict[str, Any]:
        """As a job shows it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Corpus:
        return cls(**data)
