"""A classifier trained beside transformers' Trainer: the time until both are as good on rows held out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.entry import Entry
from bench.environment import peers_python
from bench.peering import PeerMissing, peers
from jobs.params import parse_params
from jobs.rows import Row, encode_shard_row
from jobs.training import INPUT, TrainingRun
from nlp.files import find_model_folder
from nlp.kinds.fine_tune import FineTune
from server.demo.modules import labelled_docstrings
from server.demo.run import CLASSIFIER
from server.devices import find_devices
from workers.model_files import package_folder

_MODULES = 12
#: Docstrings of each module at most.
_ROWS = 60
_TOKENS = 256
_LEAST_RATIO = 5.0


@dataclass
class _Watch:
    """When the model was how good."""

    begun: float = field(default_factory=time.perf_counter)
    reached: list[tuple[float, float]] = field(default_factory=list)  #: seconds, macro F1

    def report(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "evaluation":
            seconds = time.perf_counter() - self.begun
            self.reached.append((seconds, event["metrics"]["macro_f1"]))


def finetune(console: Console, scale: float) -> Iterator[Entry]:
    """Measure the time to the quality that the Trainer ends with."""
    import torch  # noqa: PLC0415  (only where it is measured)

    from nlp.evaluation.classification import Choice, evaluate_labels  # noqa: PLC0415

    labelled = labelled_docstrings(max(4, round(_ROWS * scale)), _MODULES)
    encoder = find_model_folder(package_folder(CLASSIFIER.removeprefix("pkg:")))
    texts = [row["text"] for row in labelled.training]
    labels = [row["label"] for row in labelled.training]
    gold = [row["label"] for row in labelled.held_out]
    with peers(peers_python(console), threads=torch.get_num_threads()) as others:
        try:
            facts = others.load("Trainer", "trainer", folder=str(encoder), max_tokens=_TOKENS)
        except PeerMissing as missing:
            console.print(f"[yellow]skipped {missing}: not installed[/]")
            return
        console.print(f"finetune: {len(texts)} rows, {len(gold)} held out; Trainer is {facts}")
        seconds = others.run("Trainer", texts, labels=labels).seconds
        given = others.run("Trainer", [row["text"] for row in labelled.held_out]).outputs
    theirs = evaluate_labels([Choice(one) for one in given], gold).metrics["macro_f1"]
    console.print(f"finetune: Trainer {seconds:.1f} s, macro F1 {theirs:.3f}")
    watch = _ours(encoder, labelled.training, labelled.held_out)
    told = ", ".join(f"{after:.1f} s {reached:.3f}" for after, reached in watch.reached)
    console.print(f"finetune: Textmill, macro F1 after seconds: {told}")
    equal = [one for one in watch.reached if one[1] >= theirs]
    ours, reached = equal[0] if equal else watch.reached[-1]
    yield Entry(
        id="finetune_vs_trainer",
        metric=f"seconds to macro F1 {theirs:.3f} on {len(gold)} held-out docstrings, MiniLM, {len(texts)} rows",
        ours=ours,
        peer=seconds,
        peer_name="transformers Trainer at its defaults",
        higher_is_better=False,
        goal=f"ratio at least {_LEAST_RATIO:g}, macro F1 no lower",
        met=bool(equal) and seconds >= _LEAST_RATIO * ours,
        scale=scale,
        detail={"macro_f1": reached, "peer_macro_f1": theirs, "curve": watch.reached},
    )


def _ours(
    encoder: Path, training: Sequence[Mapping[str, str]], held_out: Sequence[Mapping[str, str]]
) -> _Watch:
    """The kind with its own defaults, measured after each epoch; its reading of the data and the measuring count."""
    kind = FineTune()
    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as name:
        folder = Path(name)
        for part in ("product", "scratch"):
            (folder / part).mkdir()
        params = {"task": "classify", "output_name": "bench", "max_tokens": _TOKENS}
        watch = _Watch()
        kind.train(
            TrainingRun(
                base=encoder,
                reference=CLASSIFIER,
                data={
                    INPUT: _write(folder / "training.jsonl", training),
                    "validation": _write(folder / "validation.jsonl", held_out),
                },
                params=parse_params(kind, {**params, "validation": "validation", "test": 0.0}),
                device=find_devices("auto")[0],
                source="bench",
                product=folder / "product",
                scratch=folder / "scratch",
                resume=None,
                report=watch.report,
                stopping=lambda: False,
            )
        )
    return watch


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    made = [
        Row(place, row["text"], fields={"label": row["label"]}) for place, row in enumerate(rows)
    ]
    path.write_bytes(b"".join(map(encode_shard_row, made)))
    return path
