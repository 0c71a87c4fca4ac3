"""``echo``: gives each text back, as slowly as asked. A kind as a third party ships one."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from jobs.kinds import Kind, KindParams, RunContext
from jobs.measuring import Evaluator, MeasuredParams
from jobs.outtake.columns import ColumnType
from jobs.rows import Outcome, Row, RowFailure, Success, Usage

#: Short delays are slept through together, for each sleep takes a little longer than it was asked to.
SLEEP_MS = 20.0


class EchoParams(MeasuredParams):
    """How to echo."""

    delay_ms: float = Field(default=0, ge=0, le=60_000, description="Time that each row takes.")
    fail_on: str | None = Field(default=None, min_length=1, description="Rows with this text fail.")
    die_on: str | None = Field(
        default=None, min_length=1, description="Rows with this text end the process."
    )
    hang_on: str | None = Field(
        default=None, min_length=1, description="Rows with this text hang, holding the global lock."
    )
    stall_on: str | None = Field(
        default=None, min_length=1, description="Rows with this text hang, holding nothing."
    )
    upper: bool = Field(default=False, description="Give the text back in capitals.")
    break_in: str | None = Field(
        default=None, pattern="^(check|prepare|run)$", description="Where the kind shows a bug."
    )
    die_preparing: bool = Field(default=False, description="End the process before any row is met.")
    trace: str | None = Field(
        default=None, description="A file on the worker's host that gets a line for each batch."
    )

    @property
    def batch_rows(self) -> int:
        """Rows computed between two looks at whether to go on."""
        return max(1, int(SLEEP_MS / self.delay_ms)) if self.delay_ms else 1 << 20

    @cached_property
    def has_poison(self) -> bool:
        """Whether any row may end or stop the process."""
        return any((self.die_on, self.hang_on, self.stall_on))


class SameTexts(Evaluator):
    """Counts texts that are their gold answer."""

    most: ClassVar[int | None] = 8

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._same = 0

    def add(self, row: Row, output: Mapping[str, Any]) -> None:
        self._rows.append(row.index)
        self._same += output["text"] == row.fields.get("gold")

    def evaluation(self) -> dict[str, Any]:
        groups = {"by": "same", "groups": self._rows}
        return {
            "rows": len(self._rows),
            "metrics": {"same": self._same / len(self._rows)},
            "details": {"groups": groups},
        }


class Echo(Kind):
    """The text that came in."""

    name: ClassVar[str] = "echo"
    summary: ClassVar[str] = "Give each text back"
    Params: ClassVar[type[KindParams]] = EchoParams
    needs_model: ClassVar[bool] = False
    window_rows: ClassVar[int] = 50
    output_columns: ClassVar[Mapping[str, ColumnType]] = {"text": "string"}

    def fields_of(self, params: EchoParams) -> frozenset[str]:
        return params.measured_fields("gold")

    def evaluator(self, params: EchoParams) -> Evaluator | None:
        return SameTexts() if params.evaluate else None

    def check(self, row: Row, params: EchoParams) -> RowFailure | None:
        self._break("check", params)
        return None

    def prepare(self, model: object, params: EchoParams, context: RunContext) -> None:
        self._break("prepare", params)
        if params.die_preparing:
            os._exit(3)

    def run(
        self,
        model: object,
        state: object,
        rows: Sequence[Row],
        params: EchoParams,
        context: RunContext,
    ) -> list[Outcome]:
        self._break("run", params)
        outcomes: list[Outcome] = []
        for start in range(0, len(rows), params.batch_rows):
            batch = rows[start : start + params.batch_rows]
            time.sleep(params.delay_ms * len(batch) / 1000)
            for row in batch:
                if params.has_poison:
                    self._poison(row, params)
                outcomes.append(self._outcome(row, params))
            if params.trace is not None:
                _note(Path(params.trace), batch)
            context.tick(len(batch))
        return outcomes

    def _poison(self, row: Row, params: EchoParams) -> None:
        """Never come back from a row that is poison; the trace says that it was met."""
        dies, hangs, stalls = (
            text is not None and text in row.text
            for text in (params.die_on, params.hang_on, params.stall_on)
        )
        if (dies or hangs or stalls) and params.trace is not None:
            _note(Path(params.trace), [row])
        if dies:
            os._exit(3)
        if hangs:
            ctypes.PyDLL(None).sleep(1_000_000)  # unlike CDLL, it keeps Python's global lock
        if stalls:
            time.sleep(1_000_000)

    def _outcome(self, row: Row, params: EchoParams) -> Outcome:
        if params.fail_on is not None and params.fail_on in row.text:
            return RowFailure("echo_refused", f"the text holds {params.fail_on!r}")
        output: dict[str, Any] = {"text": row.text.upper() if params.upper else row.text}
        return Success(output, Usage(input_tokens=len(row.text.split())))

    def _break(self, where: str, params: EchoParams) -> None:
        if params.break_in == where:
            raise ZeroDivisionError(f"a bug in {where}")


class Eager(Echo):
    """An echo that reads the next rows while it gives back the ones before. Poison kills whoever reads it."""

    name: ClassVar[str] = "eager"
    summary: ClassVar[str] = "Give each text back, read ahead"

    def ahead(
        self, model: object, state: object, rows: Sequence[Row], params: EchoParams
    ) -> list[str]:
        if params.has_poison:
            for row in rows:
                self._poison(row, params)
        return [row.text for row in rows]

    def run(
        self,
        model: object,
        state: object,
        rows: Sequence[Row],
        params: EchoParams,
        context: RunContext,
    ) -> list[Outcome]:
        if context.ahead is not None and context.ahead != [row.text for row in rows]:
            raise ValueError("what was made ready is of other rows")
        return super().run(model, state, rows, params, context)


def _note(path: Path, batch: Sequence[Row]) -> None:
    """Say in one write what this process has just computed, so that lines of several never mix."""
    line = f"{time.monotonic():.3f} {os.getpid()} {batch[0].index} {batch[-1].index} {len(batch)}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
