"""A retry: which rows are computed again, and how their outcome joins what was there before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import orjson

from jobs.names import JobNames
from storage import parts
from storage.objects import ObjectStore
from storage.restore import planned_ranges
from storage.submission import read_manifest

_LINES_AT_ONCE = 1000

Line = tuple[int, bytes]  #: a row's index and its line


def retried_lines(store: ObjectStore, names: JobNames, lines: Iterator[Line]) -> Iterator[bytes]:
    """Those of all rows' lines whose row has no result yet.

    Args:
        store: where the job's objects lie.
        names: of the generation that is planned.
        lines: every row of the input, in order.
    """
    done = (index for index, _ in previous_output(store, names, "results"))
    next_done = next(done, None)
    for index, line in lines:
        if index == next_done:
            next_done = next(done, None)
        else:
            yield line


def previous_output(store: ObjectStore, names: JobNames, section: str) -> Iterator[Line]:
    """``results`` or ``errors`` of the generation before, in input order."""
    before = replace(names, generation=names.generation - 1)
    manifest = read_manifest(store, before)
    output = cast("dict[str, Any]", manifest["outputs"][section])
    return indexed(store.stream(str(output["object"])))


def merged(*outputs: Iterator[Line]) -> Iterator[bytes]:
    """Outputs as one, by index; where several have a row, the first one's line counts."""
    heads = [next(output, None) for output in outputs]
    while True:
        waiting = [head[0] for head in heads if head is not None]
        if not waiting:
            return
        lowest = min(waiting)
        taken = False
        for number, head in enumerate(heads):
            if head is not None and head[0] == lowest:
                if not taken:
                    yield head[1]
                    taken = True
                heads[number] = next(outputs[number], None)


class Counted:
    """Counts lines as they pass."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.lines = 0

    def chunks(self) -> Iterator[bytes]:
        """The lines, many at a time."""
        while held := list(islice(self._lines, _LINES_AT_ONCE)):
            self.lines += len(held)
            yield b"".join(held)


def without(output: Iterator[Line], gone: Iterator[int]) -> Iterator[Line]:
    """An output without some rows; both go by index, upwards."""
    next_gone = next(gone, None)
    for index, line in output:
        while next_gone is not None and next_gone < index:
            next_gone = next(gone, None)
        if index != next_gone:
            yield index, line


def indexed(chunks: Iterator[bytes]) -> Iterator[Line]:
    """Lines of an output with their rows' indexes, from chunks of any size."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield int(orjson.loads(line)["index"]), line + b"\n"


def shard_lines(store: ObjectStore, names: JobNames) -> Iterator[Line]:
    """Every planned row of a generation, in order."""
    for rows in planned_ranges(store, names):
        for line in parts.shard_lines(store.get(names.shard(rows))):
            yield int(orjson.loads(line)["index"]), line + b"\n"
