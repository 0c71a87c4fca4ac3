"""Trainings in folders of a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from jobs.kinds import KindRegistry
from jobs.params import parse_params
from jobs.rows import BadRow, Row, Success, encode_shard_row
from jobs.training import INPUT, TrainingRun
from nlp.kinds.fine_tune import FineTune
from tests.unit.nlp.tinymodels import CPU

ENDINGS = {
    "parcel": "The parcel came late and the box was torn by the carrier number",
    "refund": "I was charged twice and want my money back for the order",
    "praise": "Lovely colours and good value, I am very happy with item",
}


def labelled(count: int) -> list[Row]:
    """Rows of three labels that a few words tell apart, no two the same."""
    labels = list(ENDINGS)
    return [
        Row(
            number,
            f"{ENDINGS[labels[number % 3]]} {number} {'again ' * (number % 5)}".strip(),
            fields={"label": labels[number % 3], "country": "de" if number % 2 else "fr"},
            source="rows.jsonl",
            line=number + 1,
        )
        for number in range(count)
    ]


def write_rows(path: Path, rows: Sequence[Row | BadRow]) -> Path:
    path.write_bytes(b"".join(encode_shard_row(row) for row in rows))
    return path


@dataclass
class Trained:
    """A training that a test starts, and what it told."""

    folder: Path
    base: Path | None
    params: Mapping[str, Any]
    rows: Sequence[Row | BadRow]
    files: Mapping[str, Sequence[Row | BadRow]] = field(default_factory=dict)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    run_result: Success | None = None
    reference: str = "pkg:tiny"

    @property
    def product(self) -> Path:
        return self.folder / "product"

    def run(
        self,
        *,
        resume: Path | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Success:
        for name in ("product", "scratch"):
            (self.folder / name).mkdir(parents=True)
        data = {
            name: write_rows(self.folder / f"{name}.jsonl", rows)
            for name, rows in {INPUT: self.rows, **self.files}.items()
        }
        kind = KindRegistry([FineTune()]).require("fine_tune")
        assert isinstance(kind, FineTune)
        given = {"output_name": "tuned", **self.params}
        self.run_result = kind.train(
            TrainingRun(
                base=self.base,
                reference=self.reference,
                data=data,
                params=parse_params(kind, given),
                device=CPU,
                source="job:1",
                product=self.product,
                scratch=self.folder / "scratch",
                resume=resume,
                report=self.events.append,
                stopping=stopping,
            )
        )
        return self.run_result

    def told(self, event: str) -> list[Mapping[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    def weights(self) -> dict[str, Tensor]:
        (path,) = self.product.glob("*.safetensors")
        found: dict[str, Tensor] = load_file(path)
        return found
