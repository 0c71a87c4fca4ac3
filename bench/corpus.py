"""A corpus of many small objects in the store, and what becomes of it from night to night."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import orjson
from minio import Minio

#: Bucket that tenant ``default`` of an embedded stack may read.
BUCKET = "corpora"

#: Objects that are written at once.
_WRITERS = 16

#: Of the rows that a night touches: changed, added; the rest are removed.
_CHANGED, _ADDED = 0.5, 0.25

#: Of the objects, those that a night renames.
_RENAMED = 0.01

Row = dict[str, Any]


class Corpus:
    """Rows in objects of a bucket.

    Args:
        s3: a client of the store.
        prefix: folder of the objects.
        objects: how many there are.
        rows: how many there are, in all.
        text: gives the text of a row, from a random source.
    """

    def __init__(
        self,
        s3: Minio,
        prefix: str,
        *,
        objects: int,
        rows: int,
        text: Callable[[random.Random], str],
    ) -> None:
        self._s3 = s3
        self._chance = random.Random(rows)  # noqa: S311  (texts, not secrets)
        self._text = text
        self._prefix = prefix
        self._numbers = iter(range(1 << 62))
        self._objects: dict[str, list[Row]] = {f"{n:05d}": [] for n in range(objects)}
        names = list(self._objects)
        for number in range(rows):
            self._objects[names[number % objects]].append(self._row())
        self._write(names)

    @property
    def uri(self) -> str:
        return f"s3://{BUCKET}/{self._prefix}"

    @property
    def rows(self) -> int:
        return sum(map(len, self._objects.values()))

    def night(self, share: float) -> int:
        """Change, add and remove rows, so many of all together, and rename and re-order some objects; how many rows
        have to be computed for it."""
        touched = round(self.rows * share)
        changed, added = round(touched * _CHANGED), round(touched * _ADDED)
        dirty: set[str] = set()
        places = [(name, at) for name, rows in self._objects.items() for at in range(len(rows))]
        chosen = self._chance.sample(places, touched - added)
        for name, at in chosen[:changed]:
            row = self._objects[name][at]
            self._objects[name][at] = {**row, "text": self._text(self._chance)}
            dirty.add(name)
        for name, at in sorted(chosen[changed:], reverse=True):
            del self._objects[name][at]
            dirty.add(name)
        for name in self._chance.choices(list(self._objects), k=added):
            self._objects[name].append(self._row())
            dirty.add(name)
        for name in self._chance.sample(list(self._objects), int(len(self._objects) * _RENAMED)):
            rows = self._objects.pop(name)
            self._chance.shuffle(rows)
            self._s3.remove_object(BUCKET, self._key(name))
            dirty.discard(name)
            moved = f"{self._chance.randrange(10**9):09d}-{name[-5:]}"
            self._objects[moved] = rows
            dirty.add(moved)
        self._write(sorted(dirty))
        return changed + added

    def _row(self) -> Row:
        return {"custom_id": f"row-{next(self._numbers)}", "text": self._text(self._chance)}

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}.jsonl"

    def _write(self, names: Sequence[str]) -> None:
        def write(name: str) -> None:
            data = b"".join(_lines(self._objects[name]))
            self._s3.put_object(BUCKET, self._key(name), BytesIO(data), len(data))

        with ThreadPoolExecutor(_WRITERS) as pool:
            for done in [pool.submit(write, name) for name in names]:
                done.result()


def _lines(rows: Sequence[Row]) -> Iterator[bytes]:
    for row in rows:
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
