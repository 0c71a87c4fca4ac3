"""Classification beside what people would use instead, and beside what the machine could do at most."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench.entry import Entry
from bench.environment import peers_python
from bench.headed import save_headed
from bench.peering import PeerMissing, Peers, peers
from jobs.kinds import LoadOptions, RunContext
from jobs.rows import Row, Success
from nlp.files import find_model_folder
from nlp.kinds.classify import Classify, ClassifyParams
from server.demo.corpus import docstrings
from server.demo.run import CLASSIFIER, TOPICS
from server.devices import find_devices
from workers.model_files import package_folder

_TEXTS = 512
_WARM_UP = 24
_ROUNDS = 3
_TEMPLATE = "This is about {}."

#: Least ratios: against the pipeline where the device multiplies bf16 in hardware and where it does not, ...
_FAST, _SLOW = 7.0, 2.5
#: ... against the loop written by hand, and of the ceiling.
_BY_HAND, _CEILING = 1.25, 0.5


@dataclass(frozen=True)
class Turn:
    """One run of one side."""

    seconds: float
    labels: list[str]


class Ours:
    """The kind, called as a worker calls it."""

    def __init__(self, folder: Path, params: dict[str, Any]) -> None:
        self._kind = Classify()
        self._params = ClassifyParams.model_validate(params)
        self.context = RunContext(device=find_devices("auto")[0])
        self.model: Any = self._kind.load(folder, LoadOptions(device=self.context.device))

    def run(self, texts: Sequence[str]) -> Turn:
        """Label texts; the labels' preparation counts too."""
        rows = [Row(index, text) for index, text in enumerate(texts)]
        begun = time.perf_counter()
        state = self._kind.prepare(self.model, self._params, self.context)
        outcomes = []
        for start in range(0, len(rows), self._kind.window_rows):
            window = rows[start : start + self._kind.window_rows]
            outcomes += self._kind.run(self.model, state, window, self._params, self.context)
        seconds = time.perf_counter() - begun
        good = [one for one in outcomes if isinstance(one, Success)]
        if len(good) != len(texts):
            raise RuntimeError(f"{len(texts) - len(good)} of {len(texts)} texts failed")
        return Turn(seconds, [one.output["label"] for one in good])


def classify(console: Console, scale: float) -> Iterator[Entry]:
    """Measure heads and embeddings against peers, and heads against the device's own products."""
    import torch  # noqa: PLC0415  (only where it is measured)

    encoder = find_model_folder(package_folder(CLASSIFIER.removeprefix("pkg:")))
    texts = [document.text for document in docstrings(max(_WARM_UP, round(_TEXTS * scale)))]
    python = peers_python(console)
    with (
        tempfile.TemporaryDirectory(prefix="textmill-bench-") as name,
        peers(python, threads=torch.get_num_threads()) as others,
    ):
        headed = save_headed(encoder, Path(name) / "headed", TOPICS)
        ours = Ours(headed, {})
        peer = {"pipeline": "classification_pipeline", "by hand": "handwritten_classifier"}
        sides = {"Textmill": ours.run, **_loaded(others, peer, console, folder=str(headed))}
        ceilings: list[float] = []
        turns = _rounds(sides, texts, console, lambda: ceilings.append(_peak(ours)))
        fast = _computes_in_bf16(ours)
        least = _FAST if fast else _SLOW
        for side, entry_id, goal, peer_name in (
            ("pipeline", "classify_vs_pipeline", least, "transformers pipeline, fp32, batch 8"),
            ("by hand", "classify_vs_handwritten", _BY_HAND, "a careful loop over transformers"),
        ):
            if side in turns:
                yield _entry(entry_id, turns["Textmill"], turns[side], peer_name, scale, least=goal)
        yield _ceiling(ours, texts, turns["Textmill"], ceilings, scale)

        sentences = [_TEMPLATE.replace("{}", topic) for topic in TOPICS]
        likeness = Ours(encoder, {"candidate_labels": TOPICS, "hypothesis_template": _TEMPLATE})
        options = {"folder": str(encoder), "labels": TOPICS, "sentences": sentences}
        found = _loaded(others, {"sentences": "sentence_classifier"}, console, **options)
        if found:
            turns = _rounds({"Textmill": likeness.run, **found}, texts, console)
            ours_turns, theirs = turns["Textmill"], turns["sentences"]
            said = "sentence-transformers, cosines"
            yield _entry("classify_vs_sentence_transformers", ours_turns, theirs, said, scale)


def _loaded(
    others: Peers, wanted: Mapping[str, str], console: Console, **options: Any
) -> dict[str, Callable[[Sequence[str]], Turn]]:
    """Those of the peers that there are, ready to run."""
    found: dict[str, Callable[[Sequence[str]], Turn]] = {}
    for side, peer in wanted.items():
        try:
            facts = others.load(side, peer, **options)
        except PeerMissing as missing:
            console.print(f"[yellow]skipped {missing}: not installed[/]")
            continue
        console.print(f"classify: {side} is {facts}")

        def run(texts: Sequence[str], side: str = side) -> Turn:
            answer = others.run(side, texts)
            return Turn(answer.seconds, [one["label"] for one in answer.outputs])

        found[side] = run
    return found


def _rounds(
    sides: Mapping[str, Callable[[Sequence[str]], Turn]],
    texts: Sequence[str],
    console: Console,
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[Turn]]:
    """Each side over all texts, turn by turn."""
    for run in sides.values():
        run(texts[:_WARM_UP])
    turns: dict[str, list[Turn]] = {side: [] for side in sides}
    for number in range(_ROUNDS):
        between()
        for side, run in sides.items():
            turns[side].append(run(texts))
        said = ", ".join(f"{side} {found[-1].seconds:.2f} s" for side, found in turns.items())
        console.print(f"classify {number + 1}: {said}")
    return turns


def _entry(
    entry_id: str,
    ours: Sequence[Turn],
    peer: Sequence[Turn],
    peer_name: str,
    scale: float,
    *,
    least: float | None = None,
) -> Entry:
    count = len(ours[0].labels)
    speeds = [[count / turn.seconds for turn in turns] for turns in (ours, peer)]
    pairs = list(zip(ours[0].labels, peer[0].labels, strict=True))
    ratio = median(speeds[0]) / median(speeds[1])
    return Entry(
        id=entry_id,
        metric=f"docstrings a second, {count:,} with MiniLM",
        ours=median(speeds[0]),
        peer=median(speeds[1]),
        peer_name=peer_name,
        higher_is_better=True,
        goal="to know" if least is None else f"ratio at least {least:g}",
        met=least is None or ratio >= least,
        scale=scale,
        detail={
            "ours": speeds[0],
            "peer": speeds[1],
            "equal_labels": sum(one == other for one, other in pairs) / count,
        },
    )


def _ceiling(
    ours: Ours, texts: Sequence[str], turns: Sequence[Turn], peaks: Sequence[float], scale: float
) -> Entry:
    """What part of the device's best speed at such products went into products that were needed."""
    lengths = [len(row) for row in ours.model.tokenizer.whole(texts)]
    seconds = median(turn.seconds for turn in turns)
    needed = _shape(ours).flops_for_heads(lengths)
    share = needed / seconds / max(peaks)
    return Entry(
        id="classify_ceiling",
        metric="GFLOP/s of needed matrix products, MiniLM with a head",
        ours=needed / seconds / 1e9,
        peer=max(peaks) / 1e9,
        peer_name="the device's own products of these shapes",
        higher_is_better=True,
        goal=f"share at least {_CEILING}",
        met=share >= _CEILING,
        scale=scale,
        detail={
            "tokens": sum(lengths),
            "peaks": [peak / 1e9 for peak in peaks],
            **ours.model.describe(),
        },
    )


def _shape(ours: Ours) -> Any:
    from bench.ceiling import Shape  # noqa: PLC0415

    config = ours.model.config
    return Shape(
        size=config.hidden_size, inner=config.intermediate_size, layers=config.num_hidden_layers
    )


def _peak(ours: Ours) -> float:
    import torch  # noqa: PLC0415

    from bench.ceiling import peak_flops  # noqa: PLC0415
    from nlp.precision import compute_dtype  # noqa: PLC0415

    device = ours.context.device
    return peak_flops(_shape(ours), torch.device(device.torch_name), compute_dtype(device, "auto"))


def _computes_in_bf16(ours: Ours) -> bool:
    return bool(ours.model.describe()["precision"] == "bf16")
