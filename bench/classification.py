"""A real model through the whole platform, beside the same model called in a loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import orjson
from rich.console import Console

from bench.entry import Entry
from bench.stack import Platform
from jobs.kinds import Kind, LoadedModel, LoadOptions, RunContext
from jobs.params import parse_params
from jobs.rows import Row
from nlp.files import find_model_folder
from nlp.kinds.classify import Classify
from server.demo.corpus import docstrings
from server.demo.run import CLASSIFIER, TOPICS
from server.devices import find_devices
from workers.model_files import package_folder

#: Least time of computing on each side of a round, in seconds.
_SECONDS = 60.0
_ROUNDS = 3
_LEAST_RATIO = 0.95
_TEXTS = 1000
_TRIAL_ROWS = 200
_PARAMS = {"candidate_labels": TOPICS, "hypothesis_template": "This is about {}."}


class DirectLoop:
    """The kind called directly, in this process: its model is loaded once, before anything is measured."""

    def __init__(self, threads: int | None) -> None:
        import torch  # noqa: PLC0415  (only where it is measured)

        if threads is not None:
            torch.set_num_threads(threads)
        self._kind: Kind = Classify()
        self._params = parse_params(self._kind, _PARAMS)
        self._context = RunContext(device=find_devices("auto")[0])
        folder = find_model_folder(package_folder(CLASSIFIER.removeprefix("pkg:")))
        how = LoadOptions(device=self._context.device, precision=self._params.precision)
        self._model: LoadedModel = self._kind.load(folder, how)

    def run(self, rows: Sequence[Row]) -> float:
        """Classify; seconds that it took, with the preparation of the labels."""
        begun = time.perf_counter()
        state = self._kind.prepare(self._model, self._params, self._context)
        size = self._kind.window_rows
        for start in range(0, len(rows), size):
            window = rows[start : start + size]
            self._kind.run(self._model, state, window, self._params, self._context)
        return time.perf_counter() - begun


def classification(platform: Platform, console: Console, scale: float) -> Iterator[Entry]:
    """Measure what the platform costs beside a model that computes all the time."""
    loop = DirectLoop(platform.worker_threads())
    texts = [document.text for document in docstrings(_TEXTS)]
    trial_rows = _rows(texts, _TRIAL_ROWS)
    loop.run(trial_rows)
    speed = _TRIAL_ROWS / loop.run(trial_rows)
    # A tenth more, for the speed of a trial is not that of a long run.
    rows = _rows(texts, max(_TRIAL_ROWS, round(1.1 * _SECONDS * scale * speed)))
    uploaded = platform.upload(_write(rows, platform.folder / "classify.jsonl"))
    trial = platform.upload(_write(trial_rows, platform.folder / "trial.jsonl"))

    def through(file_id: str) -> float:
        return platform.run(kind="classify", model=CLASSIFIER, input=file_id, params=_PARAMS)[1]

    through(trial.id)  # loads the model
    ours, peer = [], []
    for number in range(_ROUNDS):
        ours.append(through(uploaded.id))
        peer.append(loop.run(rows))
        console.print(f"classify {number + 1}: {ours[-1]:.1f} s, direct loop {peer[-1]:.1f} s")
    ratio = median(peer) / median(ours)
    yield Entry(
        id="overhead-classify",
        metric=f"seconds for {len(rows):,} rows, MiniLM zero-shot, submit to end",
        ours=median(ours),
        peer=median(peer),
        peer_name="the same kind called in a loop",
        higher_is_better=False,
        goal=f"ratio at least {_LEAST_RATIO}",
        met=ratio >= _LEAST_RATIO,
        scale=scale,
        detail={"ours": ours, "peer": peer},
    )


def _rows(texts: Sequence[str], count: int) -> list[Row]:
    return [Row(index, text) for index, text in enumerate(islice(cycle(texts), count))]


def _write(rows: Sequence[Row], path: Path) -> Path:
    path.write_bytes(b"".join(orjson.dumps({"text": row.text}) + b"\n" for row in rows))
    return path
