"""Summaries by a small instruction model, beside plain ``generate`` of transformers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from rich.console import Console

from bench.entry import Entry
from jobs.kinds import LoadOptions, RunContext
from jobs.rows import Outcome, Row, Success
from nlp.kinds.summarize import Summarize, SummarizeParams
from nlp.prompts import summary_prompt
from server.demo.corpus import docstrings
from server.demo.run import SUMMARIZER
from server.devices import find_devices
from workers.model_files import package_folder

_ROUNDS = 3
_TEXTS = 64
_MAX_TOKENS = 64
#: Tokens of a text; with instruction and chat format the prompts have about 180.
_TEXT_TOKENS = range(75, 280)
#: Batches that are tried: whichever is best counts.
_BATCHES = (32, 64)
#: Every so many-th text, in the order of length, is also given to transformers by itself.
_SINGLES = 8
_LEAST_OVER_SINGLE, _LEAST_OVER_BATCH = 9.0, 1.2


@dataclass
class Side:
    """One way of summarizing, and what was measured of it."""

    name: str
    speeds: list[float] = field(default_factory=list)  #: texts a second, by round
    tokens: float = 0.0  #: new tokens of a text

    @property
    def speed(self) -> float:
        """Median of the rounds."""
        return median(self.speeds)


class Ours:
    """The kind as a worker calls it."""

    def __init__(self, folder: Path) -> None:
        self._kind = Summarize()
        self._params = SummarizeParams(max_tokens=_MAX_TOKENS, style="sentence")
        self._context = RunContext(device=find_devices("auto")[0])
        self.model = self._kind.load(folder, LoadOptions(device=self._context.device))
        self._state = self._kind.prepare(self.model, self._params, self._context)
        self.prompt_tokens = 0.0  # of a text in the last run, on average

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of texts."""
        return [len(ids) for ids in self.model.tokenize(texts)]

    def run(self, texts: Sequence[str]) -> float:
        """Summarize all; new tokens of a text, on average."""
        rows = [Row(index, text) for index, text in enumerate(texts)]
        made: list[Outcome] = []
        for start in range(0, len(rows), self._kind.window_rows):
            window = rows[start : start + self._kind.window_rows]
            made += self._kind.run(self.model, self._state, window, self._params, self._context)
        usages = [outcome.usage for outcome in made if isinstance(outcome, Success)]
        if len(usages) < len(made):
            raise RuntimeError(f"{len(made) - len(usages)} texts failed")
        self.prompt_tokens = mean(usage.input_tokens for usage in usages)
        return mean(usage.output_tokens for usage in usages)


class PlainGenerate:
    """What a user would write: texts sorted by length, padded batches, ``generate``."""

    def __init__(self, folder: Path) -> None:
        import torch  # noqa: PLC0415  (only where it is measured)
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

        from nlp.loading import quiet  # noqa: PLC0415
        from nlp.precision import compute_dtype, dtype_name  # noqa: PLC0415

        device = find_devices("auto")[0]
        dtype = compute_dtype(device, "auto")
        self.precision = dtype_name(dtype)
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        auto_class: Any = AutoModelForCausalLM
        with quiet():
            model = auto_class.from_pretrained(folder, dtype=dtype)
        self._model = model.to(device.torch_name).eval()

    def run(self, texts: Sequence[str], batch: int) -> float:
        """Summarize all; new tokens of a text, on average."""
        ordered = sorted(texts, key=len)
        counts: list[int] = []
        for start in range(0, len(ordered), batch):
            counts += self._batch(ordered[start : start + batch])
        return mean(counts)

    def _batch(self, texts: Sequence[str]) -> list[int]:
        tokenizer = self._tokenizer
        asked = summary_prompt("sentence", None, None)
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": asked.replace("{text}", text)}],
                tokenize=False,
                add_generation_prompt=True,
            )
            for text in texts
        ]
        inputs = tokenizer(prompts, padding=True, add_special_tokens=False, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        with self._torch.inference_mode():
            made = self._model.generate(
                **inputs,
                max_new_tokens=_MAX_TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        written = made[:, inputs["input_ids"].shape[1] :]
        tokenizer.batch_decode(written, skip_special_tokens=True)
        return [int((row != tokenizer.pad_token_id).sum()) for row in written]


def summarize(console: Console, scale: float) -> Iterator[Entry]:
    """Measure texts a second, turn by turn."""
    from nlp.materialize import usable_folder  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as scratch:
        folder = usable_folder(package_folder(SUMMARIZER.removeprefix("pkg:")), Path(scratch))
        yield from _compare(Ours(folder), PlainGenerate(folder), console, scale)


def _compare(ours: Ours, plain: PlainGenerate, console: Console, scale: float) -> Iterator[Entry]:
    texts = _texts(ours, max(_SINGLES, round(_TEXTS * scale)))
    few = texts[_SINGLES // 2 :: _SINGLES]
    facts = ours.model.describe()
    mill = Side(f"ours, {facts['precision']}")
    single = Side(f"generate one by one, {plain.precision}")
    batches = {size: Side(f"generate in batches of {size}, {plain.precision}") for size in _BATCHES}
    ours.run(few)
    plain.run(few[:2], 2)  # both have computed once before anything is measured
    for number in range(_ROUNDS):
        _measure(mill, texts, lambda: ours.run(texts))
        _measure(single, few, lambda: plain.run(few, 1))
        for size, side in batches.items():
            _measure(side, texts, partial(plain.run, texts, size))
        said = ", ".join(
            f"{side.name} {side.speeds[-1]:.2f}" for side in (mill, single, *batches.values())
        )
        console.print(f"summarize {number + 1}, texts a second: {said}")
    best = max(batches.values(), key=lambda side: side.speed)
    detail = {
        "prompt_tokens": ours.prompt_tokens,
        **{
            side.name: {"speeds": side.speeds, "new_tokens": side.tokens}
            for side in (mill, single, *batches.values())
        },
    }
    for name, peer, least in (
        ("single", single, _LEAST_OVER_SINGLE),
        ("batch", best, _LEAST_OVER_BATCH),
    ):
        yield Entry(
            id=f"summarize_vs_transformers-{name}",
            metric=f"texts a second, SmolLM2-135M, at most {_MAX_TOKENS} new tokens",
            ours=mill.speed,
            peer=peer.speed,
            peer_name=f"transformers {peer.name}",
            higher_is_better=True,
            goal=f"ratio at least {least}",
            met=mill.speed >= least * peer.speed,
            scale=scale,
            detail=detail,
        )


def _measure(side: Side, texts: Sequence[str], run: Callable[[], float]) -> None:
    begun = time.perf_counter()
    side.tokens = run()
    side.speeds.append(len(texts) / (time.perf_counter() - begun))


def _texts(ours: Ours, count: int) -> list[str]:
    """So many docstrings of the wanted length, shortest first."""
    texts = [document.text for document in docstrings(20 * _TEXTS)]
    fitting = [
        text
        for text, length in zip(texts, ours.lengths(texts), strict=True)
        if length in _TEXT_TOKENS
    ]
    return sorted(fitting[:count], key=len)
