"""The curves of a training: what it reported step by step, kept as JSON lines and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from nlp.training.plot import Panel, draw

#: Names of the two files in a product's folder.
LINES = "training.jsonl"
PICTURE = "training.svg"

#: Events that belong to the curves.
_KEPT = frozenset({"step", "evaluation"})


class CurveLog:
    """The events of one training in one file, a line each. A checkpoint may hold a copy of it.

    Args:
        path: the file; what it holds already is kept up to the step that training goes on from.
        resumed: that step; 0 begins anew.
    """

    def __init__(self, path: Path, resumed: int = 0) -> None:
        self.path = path
        kept = [line for line in _lines(path) if _step(line) <= resumed] if resumed else []
        scratch = path.with_suffix(".new")
        scratch.write_bytes(b"".join(kept))
        scratch.replace(path)

    def add(self, event: Mapping[str, Any]) -> None:
        """Keep an event of :attr:`jobs.training.TrainingRun.report`, if it belongs to the curves."""
        if event.get("event") in _KEPT:
            with self.path.open("ab") as file:
                file.write(orjson.dumps(dict(event), option=orjson.OPT_APPEND_NEWLINE))

    def publish(self, folder: Path) -> None:
        """Put the lines and the picture into a product's folder."""
        data = self.path.read_bytes()
        (folder / LINES).write_bytes(data)
        (folder / PICTURE).write_text(picture(self.path), "utf-8")


def picture(path: Path) -> str:
    """The curves of a file of events, as SVG: loss, learning rate, and the evaluations' numbers."""
    steps: dict[str, list[tuple[float, float]]] = {"loss": [], "learning_rate": []}
    measured: dict[str, list[tuple[float, float]]] = {}
    for line in _lines(path):
        event = orjson.loads(line)
        step = float(event["step"])
        if event["event"] == "step":
            for name, points in steps.items():
                if isinstance(event.get(name), int | float):
                    points.append((step, float(event[name])))
        else:
            for name, value in event["metrics"].items():
                if isinstance(value, int | float):
                    measured.setdefault(name, []).append((step, float(value)))
    losses = {"training": steps["loss"]}
    if "loss" in measured:
        losses["validation"] = measured.pop("loss")
    # Numbers from 0 to 1 and those from 0 to 100 cannot share axes.
    shares = {name: points for name, points in measured.items() if _within(points, 1)}
    others = {name: points for name, points in measured.items() if name not in shares}
    return draw(
        [
            Panel("Loss", losses),
            Panel("Learning rate", {"learning rate": steps["learning_rate"]}),
            Panel("Evaluation, 0 to 1", shares),
            Panel("Evaluation", others),
        ]
    )


def _within(points: list[tuple[float, float]], limit: float) -> bool:
    return all(0 <= value <= limit for _, value in points)


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines; a kill may have cut the last one short."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _step(line: bytes) -> int:
    return int(orjson.loads(line)["step"])
