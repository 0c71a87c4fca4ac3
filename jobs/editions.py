"""A day's output as readers find it: one folder a day, and in it the edition of one job.

``<uri>date=<day>/part-<number>-<job>.<format>`` holds its results. Readers of data sets skip names that begin with
``_``: ``_errors-<job>.jsonl``, ``_SUCCESS``, which is there while the folder holds one whole edition and nothing else,
``_writer.json``, which says who may write, and above the folders ``_latest.json``.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from jobs.ids import ID_PATTERN
from jobs.outtake import Cut, OutputFormat

#: Written last: while it is there, the folder's parts are those that it names.
SUCCESS = "_SUCCESS"

#: Who may write to the folder, and what it has begun to write.
WRITER = "_writer.json"

#: Names the newest whole edition of all days; beside the folders.
LATEST = "_latest.json"

_OWNED = re.compile(
    rf"(?:part-[0-9]{{5,}}|_errors)-(?P<job>job_{ID_PATTERN})(?:-[0-9]+)?\.(?:parquet|jsonl|csv)"
)


class NotOurs(ValueError):
    """An object where Textmill keeps its own is none of it."""


@dataclass(frozen=True, kw_only=True, order=True)
class Turn:
    """Which of two editions is newer: by day, then by when the run was due, then by attempt."""

    date: str  #: ISO day
    at: int  #: ms: time of the firing, or when the job was submitted
    job: str
    generation: int

    @property
    def suffix(self) -> str:
        """What the names of its objects end with."""
        return self.job if self.generation == 1 else f"{self.job}-{self.generation}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One object of an edition."""

    name: str  #: in the folder
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Edition:
    """One whole output of a day: what ``_SUCCESS`` and ``_latest.json`` say."""

    turn: Turn
    folder: str  #: URI
    format: OutputFormat
    schedule: str | None
    run: str | None
    parts: tuple[Part, ...]
    errors: Part

    def to_json(self) -> bytes:
        entry = {
            **asdict(self.turn),
            "schedule": self.schedule,
            "run": self.run,
            "folder": self.folder,
            "format": self.format,
            "rows": sum(part.rows for part in self.parts),
            "parts": [asdict(part) for part in self.parts],
            "errors": asdict(self.errors),
        }
        return orjson.dumps(entry, option=orjson.OPT_INDENT_2)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """``_writer.json``: whose turn it is to write to the folder.

    Whatever becomes visible in the folder is an upload by parts that was named here before it was completed. Whoever
    takes over drops these first, so that nothing of an earlier writer can still appear, however late it wakes up.
    """

    turn: Turn
    cut: Cut  #: of its parts, whoever goes on with them
    uploads: tuple[tuple[str, str], ...] = ()  #: names and uploads that may not be completed yet
    revoked: tuple[tuple[str, str], ...] = ()  #: those of earlier writers, to be dropped

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Claim:
        """The inverse of :meth:`to_json`.

        Raises:
            NotOurs: it is none.
        """
        try:
            entry = orjson.loads(data)
            return cls(
                turn=_turn(entry["turn"]),
                cut=Cut(**entry["cut"]),
                uploads=_pairs(entry["uploads"]),
                revoked=_pairs(entry["revoked"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise NotOurs(f"{WRITER} is not one of Textmill's") from error


def turn_in(data: bytes, name: str) -> Turn:
    """Whose edition a ``_SUCCESS`` or ``_latest.json`` names.

    Raises:
        NotOurs: it is none.
    """
    try:
        return _turn(orjson.loads(data))
    except (ValueError, KeyError, TypeError) as error:
        raise NotOurs(f"{name} is not one of Textmill's") from error


def owner_of(name: str) -> str | None:
    """The job whose edition an object of a folder belongs to; None: no job's."""
    match = _OWNED.fullmatch(name)
    return None if match is None else match["job"]


def part_name(number: int, turn: Turn, format_: OutputFormat) -> str:
    return f"part-{number:05d}-{turn.suffix}.{format_}"


def errors_name(turn: Turn) -> str:
    return f"_errors-{turn.suffix}.jsonl"


def _turn(entry: Any) -> Turn:
    texts, numbers = (entry["date"], entry["job"]), (entry["at"], entry["generation"])
    if not (all(type(one) is str for one in texts) and all(type(one) is int for one in numbers)):
        raise TypeError("not a turn")
    return Turn(date=texts[0], at=numbers[0], job=texts[1], generation=numbers[1])


def _pairs(found: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(upload)) for name, upload in found)
