"""Classify, summarize and translate beside plain transformers, on one device of a machine that has nothing else.

Alone on a bare machine with torch and transformers, from a copy of the repository, with no Redis, store or Celery:

    python -m bench.gpu [--device auto|cuda|cpu] [--scale 1.0] [--only classify ...] [--json gpu.json]

Models have the usual shapes and random weights; answers have lengths that are fixed beforehand, the same for both
sides. Texts are docstrings of the standard library. Each number is the median of three rounds, both sides in turn; a
trial, with a scale below 1, has one round.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.bare import Setting
    from bench.entry import Entry

#: What the imports below need beside the standard library.
_NEEDED = ("torch", "transformers", "pydantic", "orjson", "structlog")
_ROOT = Path(__file__).parents[1]
_ROUNDS = 3
_CLASSIFIED, _SUMMARIZED, _TRANSLATED = 4000, 512, 1024
#: Tokens of an answer: most are short, some are long.
_ANSWERS = (16, 24, 24, 32, 32, 32, 48, 64)


def classify(setting: Setting, scale: float) -> Iterator[Entry]:
    """A classifier of MiniLM's shape beside the pipeline: as it comes, and in the device's format."""
    from transformers import pipeline  # noqa: PLC0415

    from bench.bare import device_for_pipeline, save_encoder  # noqa: PLC0415  (torch)
    from jobs.kinds import LoadOptions, RunContext  # noqa: PLC0415
    from jobs.rows import Row  # noqa: PLC0415
    from nlp.ahead import run_windows  # noqa: PLC0415
    from nlp.kinds.classify import Classify, ClassifyParams  # noqa: PLC0415

    folder = save_encoder(setting)
    texts = setting.texts(max(16, round(_CLASSIFIED * scale)))
    rows = [Row(index, text) for index, text in enumerate(texts)]
    kind, params, context = Classify(), ClassifyParams(), RunContext(device=setting.device)
    model = kind.load(folder, LoadOptions(device=setting.device))
    state = kind.prepare(model, params, context)

    def ours() -> None:
        run_windows(kind, model, state, rows, params=params, context=context)

    for name, batch, dtype in (("fp32, batch 8", 8, "float32"), ("batch 64", 64, setting.dtype)):
        made: Any = pipeline  # has no types
        peer = made(
            "text-classification",
            model=str(folder),
            device=device_for_pipeline(setting),
            dtype=dtype,
            batch_size=batch,
            truncation=True,
        )
        yield _compared(
            f"gpu-classify-{batch}",
            "rows/s, encoder of MiniLM's shape",
            count=len(rows),
            ours=ours,
            peer=partial(peer, texts),
            peer_name=f"transformers pipeline, {name}, {dtype}",
            scale=scale,
            model=model.describe(),
        )


def summarize(setting: Setting, scale: float) -> Iterator[Entry]:
    """A decoder of SmolLM2's shape beside ``generate`` in the best of two batch sizes."""
    from bench.bare import save_decoder  # noqa: PLC0415  (torch)

    folder = save_decoder(setting)
    count = max(4, round(_SUMMARIZED * scale))
    yield from _generation(
        setting, scale, "summarize", folder=folder, count=count, batches=(1, 32, 128)
    )


def translate(setting: Setting, scale: float) -> Iterator[Entry]:
    """An encoder-decoder of Marian-base's shape beside ``generate``."""
    from bench.bare import save_marian  # noqa: PLC0415  (torch)

    folder = save_marian(setting)
    count = max(4, round(_TRANSLATED * scale))
    yield from _generation(
        setting, scale, "translate", folder=folder, count=count, batches=(8, 32, 128)
    )


def _generation(
    setting: Setting,
    scale: float,
    name: str,
    *,
    folder: Path,
    count: int,
    batches: Sequence[int],
) -> Iterator[Entry]:
    from bench.bare import PlainGenerate  # noqa: PLC0415  (torch)
    from jobs.kinds import LoadOptions  # noqa: PLC0415
    from nlp.generation.decoding import Decoding, Prompt  # noqa: PLC0415
    from nlp.generation.model import GeneratorModel  # noqa: PLC0415

    model = GeneratorModel.load(folder, LoadOptions(device=setting.device))
    draw = random.Random(1)  # noqa: S311  (the same lengths each time, not a secret)
    lengths = [draw.choice(_ANSWERS) for _ in range(count)]
    # Cut to what fits beside the answer, as a kind would have done.
    ids = [tokens[:256] for tokens in model.tokenize(setting.texts(count))]
    prompts = [
        Prompt(tokens, Decoding(max_tokens=length, min_tokens=length, num_beams=1))
        for tokens, length in zip(ids, lengths, strict=True)
    ]
    for batch in batches:
        dtype = "float32" if batch == batches[0] and name == "translate" else setting.dtype
        peer = PlainGenerate(setting, folder, dtype, is_seq2seq=model.is_seq2seq)
        # One by one takes long and says the same on fewer.
        fewer = count if batch > 1 else max(2, count // 16)
        yield _compared(
            f"gpu-{name}-{batch}",
            f"answers/s, {sum(lengths) / count:.0f} tokens each",
            count=count,
            ours=lambda: model.engine.write(prompts, lambda _: None),
            peer=partial(peer.run, ids[:fewer], lengths[:fewer], batch),
            peer_name=f"transformers generate, batch {batch}, {dtype}, sorted by length",
            scale=scale,
            model=model.describe(),
            peer_count=fewer,
        )


def _compared(
    name: str,
    metric: str,
    *,
    count: int,
    ours: Callable[[], object],
    peer: Callable[[], object],
    peer_name: str,
    scale: float,
    model: Mapping[str, Any],
    peer_count: int | None = None,
) -> Entry:
    from bench.entry import Entry  # noqa: PLC0415  (orjson)

    runs: dict[str, list[float]] = {"ours": [], "peer": []}
    for number in range(1 + (_ROUNDS if scale >= 1 else 1)):
        for side, work, rows in (("ours", ours, count), ("peer", peer, peer_count or count)):
            seconds = _timed(work)
            if number:  # the first round is for caches and kernels to settle
                runs[side].append(rows / seconds)
    return Entry(
        id=name,
        metric=metric,
        ours=median(runs["ours"]),
        peer=median(runs["peer"]),
        peer_name=peer_name,
        higher_is_better=True,
        goal="as fast at least",
        met=median(runs["ours"]) >= median(runs["peer"]),
        scale=scale,
        detail={**runs, "model": dict(model)},
    )


def _timed(work: Callable[[], object]) -> float:
    import torch  # noqa: PLC0415

    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _missing() -> list[str]:
    """What must be installed first, as pip wants it."""
    pinned = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    known = [*pinned["dependencies"], *pinned["optional-dependencies"]["models"]]
    pins = {pin.partition("==")[0]: pin for pin in known}
    return [pins[name] for name in _NEEDED if find_spec(name) is None]


def _shown(entries: Sequence[Entry], machine: Mapping[str, Any]) -> str:
    """A table in Markdown, as it may stand in the documentation."""
    lines = [
        "| benchmark | metric | Textmill | peer | ratio | peer is |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.id} | {one.metric} | {_digits(one.ours)} | {_digits(one.peer)} | {one.ratio:.2f} | {one.peer_name} |"
        for one in entries
    ]
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join([*lines, "", facts])


def _digits(value: float) -> str:
    return f"{value:,.{max(0, 2 - int(math.log10(max(value, 1))))}f}"


def main() -> int:
    """Run what is asked for; exit status 2 where something is not installed."""
    suites = {"classify": classify, "summarize": summarize, "translate": translate}
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--scale", type=float, default=1.0, help="of the usual number of rows")
    parser.add_argument("--only", nargs="+", choices=sorted(suites), default=list(suites))
    parser.add_argument("--json", type=Path, default=None, help="also write the findings here")
    options = parser.parse_args()
    missing = _missing()
    if missing:
        sys.stderr.write(f"Not installed: run\n    pip install {' '.join(missing)}\n")
        return 2
    from bench.bare import NoGpu, Setting  # noqa: PLC0415  (torch, which may not be there)

    with tempfile.TemporaryDirectory(prefix="textmill-gpu-") as folder:
        try:
            setting = Setting.on(options.device, Path(folder))
        except NoGpu as error:
            sys.stderr.write(f"{error}\n")
            return 1
        measured_at = datetime.now(UTC).isoformat(timespec="seconds")
        machine = {**setting.describe(), "python": platform.python_version(), "at": measured_at}
        entries: list[Entry] = []
        for name in options.only:
            for entry in suites[name](setting, options.scale):
                sys.stderr.write(f"{entry.id}: {entry.ratio:.2f}\n")
                entries.append(entry)
    found = [entry.to_json(machine, measured_at) for entry in entries]
    sys.stdout.write(_shown(entries, machine) + "\n")
    if options.scale != 1.0:
        sys.stdout.write(f"\nA trial, scaled by {options.scale:g}: these ratios mean little.\n")
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
