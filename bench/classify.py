"""Classification beside what people would use instead, and beside what the machine could do at most."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench.entry import Entry
from bench.environment import peers_python
from bench.headed import save_headed
from bench.peering import PeerMissing, Peers, peers
from bench.sides import KindSide, Side, Turn, median_speed, take_turns
from jobs.rows import Success
from nlp.files import find_model_folder
from nlp.kinds.classify import Classify
from server.demo.corpus import docstrings
from server.demo.run import CLASSIFIER, TOPICS
from workers.model_files import package_folder

_TEXTS = 512
_WARM_UP = 24
_ROUNDS = 3
_TEMPLATE = "This is about {}."

#: Least ratios: against the pipeline where the device multiplies bf16 in hardware and where it does not, ...
_FAST, _SLOW = 7.0, 2.5
#: ... against the loop written by hand, and of the ceiling.
_BY_HAND, _CEILING = 1.25, 0.5


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
        ours = KindSide(Classify(), headed, _label)
        peer = {"pipeline": "classification_pipeline", "by hand": "handwritten_classifier"}
        sides: dict[str, Callable[[Sequence[str]], Turn]] = {
            "Textmill": partial(ours.run, params={}),
            **_loaded(others, peer, console, folder=str(headed)),
        }
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
        likeness = KindSide(Classify(), encoder, _label)
        params = {"candidate_labels": TOPICS, "hypothesis_template": _TEMPLATE}
        options = {"folder": str(encoder), "labels": TOPICS, "sentences": sentences}
        found = _loaded(others, {"sentences": "sentence_classifier"}, console, **options)
        if found:
            turns = _rounds(
                {"Textmill": partial(likeness.run, params=params), **found}, texts, console
            )
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
    runs: Mapping[str, Callable[[Sequence[str]], Turn]],
    texts: Sequence[str],
    console: Console,
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[Turn]]:
    """Each side over all texts, turn by turn."""
    for run in runs.values():
        run(texts[:_WARM_UP])
    sides = {name: Side(run, texts) for name, run in runs.items()}
    return take_turns(sides, _ROUNDS, lambda text: console.print(f"classify {text}"), between)


def _label(row: Success) -> Any:
    return row.output["label"]


def _entry(
    entry_id: str,
    ours: Sequence[Turn],
    peer: Sequence[Turn],
    peer_name: str,
    scale: float,
    *,
    least: float | None = None,
) -> Entry:
    count = len(ours[0].outputs)
    pairs = list(zip(ours[0].outputs, peer[0].outputs, strict=True))
    ratio = median_speed(ours) / median_speed(peer)
    return Entry(
        id=entry_id,
        metric=f"docstrings a second, {count:,} with MiniLM",
        ours=median_speed(ours),
        peer=median_speed(peer),
        peer_name=peer_name,
        higher_is_better=True,
        goal="to know" if least is None else f"ratio at least {least:g}",
        met=least is None or ratio >= least,
        scale=scale,
        detail={
            "ours": [turn.speed for turn in ours],
            "peer": [turn.speed for turn in peer],
            "equal_labels": sum(one == other for one, other in pairs) / count,
        },
    )


def _ceiling(
    ours: KindSide,
    texts: Sequence[str],
    turns: Sequence[Turn],
    peaks: Sequence[float],
    scale: float,
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


def _shape(ours: KindSide) -> Any:
    from bench.ceiling import Shape  # noqa: PLC0415

    config = ours.model.config
    return Shape(
        size=config.hidden_size, inner=config.intermediate_size, layers=config.num_hidden_layers
    )


def _peak(ours: KindSide) -> float:
    import torch  # noqa: PLC0415

    from bench.ceiling import peak_flops  # noqa: PLC0415
    from nlp.precision import compute_dtype  # noqa: PLC0415

    device = ours.context.device
    return peak_flops(_shape(ours), torch.device(device.torch_name), compute_dtype(device, "auto"))


def _computes_in_bf16(ours: KindSide) -> bool:
    return bool(ours.model.describe()["precision"] == "bf16")
