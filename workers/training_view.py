"""What users see of a training: a small block that follows its events, and a log of bounded size."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

#: Points of the loss curve in the block; when there are more, every other one goes.
CURVE_POINTS = 60

#: Metrics of an evaluation that the block shows.
_MOST_METRICS = 40

#: Warnings that the block shows, the last ones.
_MOST_WARNINGS = 10

#: Bytes of the log after which every other step goes from it.
LOG_BYTES = 4 << 20

_STEP_FIELDS = (
    "step",
    "steps",
    "epoch",
    "loss",
    "learning_rate",
    "tokens_per_second",
    "eta_seconds",
)


class TrainingView:
    """The ``training`` block of a job: its last step, its last evaluation and checkpoint, its phase and its curve.

    Args:
        known: the block that an earlier run of the same training left.
    """

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        self._block: dict[str, Any] = {"phase": None, **dict.fromkeys(_STEP_FIELDS)}
        self._block |= {"evaluation": None, "checkpoint": None, "curve": [], **(known or {})}
        self._stride = 1
        self._seen = 0

    def resume(self, step: int) -> None:
        """Training goes on after this step: what came later never happened."""
        curve = [point for point in self._block["curve"] if point[0] <= step]
        self._block |= {"curve": curve, "eta_seconds": None, "checkpoint": {"step": step}}
        if (self._block["step"] or 0) > step:
            self._block |= {"step": step, "loss": curve[-1][1] if curve else None}

    def take(self, event: Mapping[str, Any]) -> None:
        """Follow one event."""
        match event.get("event"):
            case "phase":
                self._block["phase"] = event.get("name")
                if event.get("name") == "training":
                    self._block["processes"] = event.get("processes", 1)
            case "step":
                self._block |= {name: event.get(name) for name in _STEP_FIELDS}
                self._point(event.get("step"), event.get("loss"))
            case "evaluation":
                metrics = list(dict(event.get("metrics") or {}).items())[:_MOST_METRICS]
                self._block["evaluation"] = {"step": event.get("step"), "metrics": dict(metrics)}

            case "warning":
                warnings = [*self._block.get("warnings", []), event.get("message")]
                self._block["warnings"] = warnings[-_MOST_WARNINGS:]

    def uploaded(self, step: int) -> None:
        """A checkpoint is whole in the store."""
        self._block["checkpoint"] = {"step": step}

    def end(self) -> None:
        """The training is over; its model is being published."""
        self._block |= {"phase": "publishing", "eta_seconds": 0.0}

    def block(self) -> dict[str, Any]:
        """As it is now."""
        return dict(self._block)

    def _point(self, step: Any, loss: Any) -> None:
        if not isinstance(step, int) or not isinstance(loss, int | float):
            return
        self._seen += 1
        if self._seen % self._stride:
            return
        curve = self._block["curve"]
        curve.append([step, round(float(loss), 6)])
        if len(curve) > CURVE_POINTS:
            self._block["curve"] = curve[::2]
            self._stride *= 2


class TrainingLog:
    """All events as lines of a file, of which steps become fewer as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._stride = 1
        self._steps = 0
        self._lock = threading.Lock()
        self._file = path.open("wb", buffering=0)

    def resume(self, data: bytes, step: int) -> None:
        """Take over what an earlier run told, but for steps after this one."""
        with self._lock:
            self._rewrite(data, lambda entry: (entry.get("step") or 0) <= step)

    def take(self, event: Mapping[str, Any]) -> None:
        """Note one event.

        Raises:
            OSError: the disk takes no more.
        """
        if event.get("event") == "step":
            self._steps += 1
            if self._steps % self._stride:
                return
        elif event.get("event") not in {"phase", "evaluation", "checkpoint", "warning"}:
            return
        entry = {name: value for name, value in event.items() if name != "folder"}
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            self._file.write(line)
            self._size += len(line)
            if self._size > LOG_BYTES:
                self._thin()

    def read(self) -> bytes:
        """The whole of it. May be asked for by another thread."""
        with self._lock:
            return self._path.read_bytes()

    def close(self) -> None:
        self._file.close()

    def _thin(self) -> None:
        count = 0

        def wanted(entry: dict[str, Any]) -> bool:
            nonlocal count
            if entry.get("event") != "step":
                return True
            count += 1
            return count % 2 == 0

        self._rewrite(self._path.read_bytes(), wanted)
        self._stride *= 2

    def _rewrite(self, data: bytes, wanted: Callable[[dict[str, Any]], bool]) -> None:
        lines = data.splitlines(keepends=True)
        kept = b"".join(line for line in lines if wanted(orjson.loads(line)))
        self._file.seek(0)
        self._file.truncate(0)
        self._file.write(kept)
        self._size = len(kept)
