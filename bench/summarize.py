"""Summaries by a small instruction model, beside plain ``generate`` of transformers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from bench.entry import Entry
from bench.environment import peers_python
from bench.machine import fast_dtype
from bench.peering import PeerMissing, Peers, peers
from bench.sides import KindSide, Side, Turn, median_speed, take_turns
from jobs.kinds import LoadedModel, LoadOptions, RunContext
from jobs.params import parse_params
from jobs.rows import Row, Success
from nlp.engines.choice import Way, candidates, faults, ranked, speeds
from nlp.engines.measuring import MOST_ROWS, Trials
from nlp.kinds.summarize import Summarize
from nlp.materialize import usable_folder
from nlp.prompts import summary_prompt
from server.demo.corpus import docstrings
from server.demo.run import SUMMARIZER
from server.devices import find_devices
from workers.model_files import package_folder

_OURS, _SINGLE, _BATCH = "Textmill", "single", "batch"
_ROUNDS = 2
_TEXTS = 64
_MAX_TOKENS = 64
#: Characters of a text; with instruction and chat format the prompts have about 180 tokens.
_CHARACTERS = range(300, 1100)
#: Batches of the peer that are tried out, on all texts with fewer new tokens: whichever is faster counts.
_BATCHES, _TRIAL_TOKENS = (32, 64), 16
#: Every so many-th text, in the order of length, is also given to transformers by itself.
_SINGLES = 16
_LEAST = {_SINGLE: 9.0, _BATCH: 1.2}
_PARAMS: dict[str, Any] = {"max_tokens": _MAX_TOKENS, "style": "sentence"}


def summarize(console: Console, scale: float) -> Iterator[Entry]:
    """Measure texts a second, turn by turn."""
    import torch  # noqa: PLC0415  (only where it is measured)

    python = peers_python(console)
    texts = _texts(max(_SINGLES, round(_TEXTS * scale)))
    with (
        tempfile.TemporaryDirectory(prefix="textmill-bench-") as scratch,
        peers(python, threads=torch.get_num_threads()) as others,
    ):
        folder = usable_folder(package_folder(SUMMARIZER.removeprefix("pkg:")), Path(scratch))
        way, tried = _choose(folder, texts)
        console.print(f"summarize: of the engines {way.engine} is taken: {tried}")
        ours = KindSide(Summarize(), folder, _output, engine=way.engine, precision=way.precision)
        sides = {_OURS: Side(partial(ours.run, params=_PARAMS), texts)}
        theirs, said = _rivals(others, folder, texts, console)
        few = texts[_SINGLES // 2 :: _SINGLES]
        ours.run(few, params=_PARAMS)  # it has computed before anything is measured
        turns = take_turns(sides | theirs, _ROUNDS, lambda text: console.print(f"summarize {text}"))
        detail = {
            "engine": way.engine,
            "precision": ours.model.describe()["precision"],
            "engines": tried,
            "prompt_tokens": mean(one["prompt"] for one in turns[_OURS][0].outputs),
            "new_tokens": {
                name: mean(one["tokens"] for one in found[0].outputs)
                for name, found in turns.items()
            },
            "speeds": {name: [turn.speed for turn in found] for name, found in turns.items()},
        }
        yield from _entries(turns, said, scale, detail)


def _output(row: Success) -> dict[str, Any]:
    return {"tokens": row.usage.output_tokens, "prompt": row.usage.input_tokens}


def _choose(folder: Path, texts: Sequence[str]) -> tuple[Way, dict[str, Any]]:
    """The way that a worker would compute in, measured as it does; and what was measured."""
    kind = Summarize()
    device = find_devices("auto")[0]

    def load(way: Way) -> LoadedModel:
        how = LoadOptions(device=device, engine=way.engine, precision=way.precision)
        return kind.load(folder, how)

    step = max(1, len(texts) // MOST_ROWS)
    rows = [Row(index, text) for index, text in enumerate(texts[::step])]
    trials = Trials(kind, parse_params(kind, _PARAMS), rows, RunContext(device=device), load)
    usual, *_ = ways = candidates(kind.engines, reduced=False)
    measured = trials.measure(ways)
    return ranked(measured, usual)[0], {"speeds": speeds(measured), "faults": faults(measured)}


def _rivals(
    others: Peers, folder: Path, texts: Sequence[str], console: Console
) -> tuple[dict[str, Side], dict[str, str]]:
    """The peer by itself and in its better batch, and what each is; neither where it is not installed."""
    dtype = fast_dtype()
    instruction = summary_prompt("sentence", None, None)
    try:
        facts = others.load(
            _BATCH, "plain_generator", folder=str(folder), instruction=instruction, dtype=dtype
        )
    except PeerMissing as missing:
        console.print(f"[yellow]skipped {missing}: not installed[/]")
        return {}, {}
    console.print(f"summarize: generate is {facts}")

    def run(some: Sequence[str], batch: int, tokens: int = _MAX_TOKENS) -> Turn:
        answer = others.run(_BATCH, some, batch_size=batch, max_new_tokens=tokens)
        return Turn(answer.seconds, answer.outputs)

    run(texts[:2], 2, _TRIAL_TOKENS)  # nothing is measured of a model's first call
    best = min(_BATCHES, key=lambda size: run(texts, size, _TRIAL_TOKENS).seconds)
    sides = {
        _SINGLE: Side(partial(run, batch=1), texts[_SINGLES // 2 :: _SINGLES]),
        _BATCH: Side(partial(run, batch=best), texts),
    }
    return sides, {
        _SINGLE: f"transformers generate one by one, {dtype}",
        _BATCH: f"transformers generate in batches of {best}, {dtype}",
    }


def _entries(
    turns: Mapping[str, Sequence[Turn]],
    said: Mapping[str, str],
    scale: float,
    detail: Mapping[str, Any],
) -> Iterator[Entry]:
    ours = median_speed(turns[_OURS])
    for name, peer_name in said.items():
        peer = median_speed(turns[name])
        yield Entry(
            id=f"summarize_vs_transformers-{name}",
            metric=f"texts a second, SmolLM2-135M, at most {_MAX_TOKENS} new tokens",
            ours=ours,
            peer=peer,
            peer_name=peer_name,
            higher_is_better=True,
            goal=f"ratio at least {_LEAST[name]:g}",
            met=ours >= _LEAST[name] * peer,
            scale=scale,
            detail=detail,
        )


def _texts(count: int) -> list[str]:
    """So many docstrings of the wanted length, shortest first."""
    found = [one.text for one in docstrings(20 * _TEXTS) if len(one.text) in _CHARACTERS]
    return sorted(found[:count], key=len)
