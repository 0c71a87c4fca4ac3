"""Translations by a model of Marian's base shape, beside plain ``generate`` and beside CTranslate2 called by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.entry import Entry
from bench.environment import peers_python
from bench.machine import fast_dtype
from bench.marian import save_marian
from bench.peering import PeerMissing, Peers, peers
from bench.sides import KindSide, Side, Turn, median_speed, take_turns
from jobs.rows import Success
from nlp.kinds.translate import Translate
from nlp.sentences import split_sentences
from nlp.translation.placeholders import spans
from nlp.translation.segments import Part, split_document
from server.demo.corpus import docstrings

_OURS, _RAW = "Textmill", "ctranslate2"
#: With beams a turn is long, and two tell as much.
_ROUNDS, _BEAM_ROUNDS = 3, 2
#: Two windows of the kind; with beams one.
_TEXTS, _BEAM_TEXTS = 256, 128
_LEAST_TEXTS = 8
#: Tokens of every answer.
_NEW_TOKENS = 32
_BEAMS = 4
#: Every so many-th text is also given to the slower peers.
_FEWER = {"transformers-8": 8, "transformers-32": 4}
#: Characters of a sentence.
_CHARACTERS = range(60, 220)
_TRIAL_TEXTS, _TRIAL_TOKENS = 32, 4
#: Texts that CTranslate2's settings are tried out with.
_SETTING_TEXTS = 64
#: Padded source tokens of CTranslate2's batches, the one to begin with first: whatever is fastest counts.
_BATCH_TOKENS = (1024, 512, 2048)

_LEAST = {"transformers-8": 10.0, "transformers-32": 2.0, _RAW: 0.97}


@dataclass(frozen=True, kw_only=True)
class Said:
    """What entries say beside speeds."""

    beams: int
    scale: float
    peers: Mapping[str, str]  #: what each peer is
    exact: Mapping[str, str]  #: our translations in fp32, by text


def translate(console: Console, scale: float) -> Iterator[Entry]:
    """Measure sentences a second, greedy and with beams."""
    import torch  # noqa: PLC0415  (only where it is measured)

    threads = torch.get_num_threads()
    python = peers_python(console)
    with (
        tempfile.TemporaryDirectory(prefix="textmill-bench-") as name,
        peers(python, threads=threads) as others,
    ):
        folder = save_marian(Path(name) / "marian")
        rivals = _Rivals(others, folder, threads, console)
        exact = KindSide(Translate(), folder, _output, engine="torch", precision="exact")
        ours = KindSide(Translate(), folder, _output, engine="ctranslate2")
        for beams, count, most in ((1, _TEXTS, _ROUNDS), (_BEAMS, _BEAM_TEXTS, _BEAM_ROUNDS)):
            texts = sentences(max(_LEAST_TEXTS, round(count * scale)))
            params: dict[str, Any] = {"max_tokens": _NEW_TOKENS, "num_beams": beams}
            few = texts[:: _FEWER["transformers-8"]]
            answers = exact.run(few, params=params)
            ours.run(texts[:_TRIAL_TEXTS], params=params)
            sides = {_OURS: Side(partial(ours.run, params=params), texts)}
            sides |= rivals.sides(texts, beams)
            turns = take_turns(sides, most, lambda text: console.print(f"translate {text}"))
            said = Said(
                beams=beams,
                scale=scale,
                peers=rivals.said,
                exact=dict(zip(few, _written(answers), strict=True)),
            )
            yield from _entries(turns, {name: side.texts for name, side in sides.items()}, said)


def _output(row: Success) -> dict[str, Any]:
    return {"text": row.output["translation"], "tokens": row.usage.output_tokens}


class _Rivals:
    """The peers that there are, each in its best settings."""

    def __init__(self, others: Peers, folder: Path, threads: int, console: Console) -> None:
        self._others = others
        self._console = console
        self.said: dict[str, str] = {}  #: what each peer is
        self._streams = [
            name
            for streams in sorted({1, threads})
            if self._loads(
                name := f"{streams} streams",
                "raw_ctranslate2",
                folder=str(folder),
                streams=streams,
                threads=threads,
            )
        ]
        self._dtypes = [
            dtype
            for dtype in dict.fromkeys(("float32", fast_dtype()))
            if self._loads(dtype, "plain_translator", folder=str(folder), dtype=dtype)
        ]

    def sides(self, texts: Sequence[str], beams: int) -> dict[str, Side]:
        """Those to compare with; settings are tried out beforehand."""
        found: dict[str, Side] = {}
        answer: dict[str, Any] = {"max_new_tokens": _NEW_TOKENS, "num_beams": beams}
        if self._streams:
            streams, size = self._best_setting(texts[:_SETTING_TEXTS], answer)
            self._tell(_RAW, f"CTranslate2 by hand, int8, {streams}, {size} tokens a batch")
            found[_RAW] = Side(partial(self._run, streams, batch_tokens=size, **answer), texts)
        if self._dtypes:
            trial = answer | {"max_new_tokens": _TRIAL_TOKENS}
            trials = {
                dtype: self._run(dtype, texts[:_TRIAL_TEXTS], batch_size=_TRIAL_TEXTS, **trial)
                for dtype in self._dtypes
            }
            fastest = min(trials, key=lambda dtype: trials[dtype].seconds)
            # The usual settings are of interest for what is usual: greedy.
            for batch, dtype in ((8, "float32"), (32, fastest)) if beams == 1 else ((32, fastest),):
                name = f"transformers-{batch}"
                self._tell(name, f"transformers generate, batch {batch}, {dtype}")
                found[name] = Side(
                    partial(self._run, dtype, batch_size=batch, **answer),
                    texts[:: _FEWER[name]],
                )
        return found

    def _best_setting(self, texts: Sequence[str], answer: Mapping[str, Any]) -> tuple[str, int]:
        """CTranslate2's fastest number of streams, and the fastest size of its batches with that."""

        def seconds(streams: str, size: int) -> float:
            return self._run(streams, texts, batch_tokens=size, **answer).seconds

        usual, *others = _BATCH_TOKENS
        by_streams = {streams: seconds(streams, usual) for streams in self._streams}
        best = min(by_streams, key=by_streams.__getitem__)
        by_size = {usual: by_streams[best]} | {size: seconds(best, size) for size in others}
        return best, min(by_size, key=by_size.__getitem__)

    def _run(self, name: str, texts: Sequence[str], **options: Any) -> Turn:
        answer = self._others.run(name, texts, **options)
        return Turn(answer.seconds, answer.outputs)

    def _loads(self, name: str, peer: str, **options: Any) -> bool:
        try:
            facts = self._others.load(name, peer, **options)
        except PeerMissing as missing:
            self._console.print(f"[yellow]skipped {missing}: not installed[/]")
            return False
        self._console.print(f"translate: {name} is {facts}")
        return True

    def _tell(self, name: str, said: str) -> None:
        self.said[name] = said
        self._console.print(f"translate: {name} is {said}")


def sentences(count: int) -> list[str]:
    """So many single sentences of docstrings: one segment each, with nothing in them that must stay as it is."""
    found: dict[str, None] = {}
    for document in docstrings(10 * _TEXTS):
        for paragraph in document.text.split("\n\n"):
            for sentence in split_sentences(" ".join(paragraph.split())):
                if _is_plain(sentence.strip()):
                    found[sentence.strip()] = None
    if len(found) < count:
        raise RuntimeError(f"{len(found)} sentences found, expected {count}")
    return list(found)[:count]


def _is_plain(sentence: str) -> bool:
    if len(sentence) not in _CHARACTERS or not sentence.endswith(".") or spans(sentence):
        return False
    parts = split_document(sentence, language="en", sentences=True)
    return parts == [Part(sentence, stays=False)]


def _entries(
    turns: Mapping[str, Sequence[Turn]], texts: Mapping[str, Sequence[str]], said: Said
) -> Iterator[Entry]:
    ours = turns[_OURS]
    made = dict(zip(texts[_OURS], _written(ours[0]), strict=True))
    greedy = said.beams == 1
    for name, rounds in turns.items():
        _check_lengths(name, rounds)
        if name == _OURS:
            continue
        theirs = dict(zip(texts[name], _written(rounds[0]), strict=True))
        least = _LEAST[name] if greedy or name == _RAW else None
        ratio = median_speed(ours) / median_speed(rounds)
        raw = turns.get(_RAW) if name != _RAW else None
        search = "greedy" if greedy else f"{said.beams} beams"
        yield Entry(
            id=f"translate_vs_{name}" + ("" if greedy else "-beams"),
            metric=f"sentences a second, Marian base, {_NEW_TOKENS} new tokens, {search}",
            ours=median_speed(ours),
            peer=median_speed(rounds),
            peer_name=said.peers[name],
            higher_is_better=True,
            goal="to know" if least is None else f"ratio at least {least:g}{_beside(raw, rounds)}",
            met=least is None or ratio >= least,
            scale=said.scale,
            detail={
                "ours": [turn.speed for turn in ours],
                "peer": [turn.speed for turn in rounds],
                "raw_ratio": median_speed(raw) / median_speed(rounds) if raw else None,
                "equal": _share_equal(made, theirs),
                "equal_exact": _share_equal(said.exact, theirs),
            },
        )


def _beside(raw: Sequence[Turn] | None, peer: Sequence[Turn]) -> str:
    """What the fastest library called by hand reaches in the place of ours, which bounds what can be hoped for."""
    if raw is None:
        return ""
    return f" (CTranslate2 by hand: {median_speed(raw) / median_speed(peer):.2f})"


def _written(turn: Turn) -> list[str]:
    return [one["text"].strip() for one in turn.outputs]


def _check_lengths(name: str, turns: Sequence[Turn]) -> None:
    found = {one["tokens"] for turn in turns for one in turn.outputs}
    if found != {_NEW_TOKENS}:
        raise RuntimeError(f"{name} wrote {sorted(found)} tokens, expected {_NEW_TOKENS}")


def _share_equal(ours: Mapping[str, str], theirs: Mapping[str, str]) -> float:
    """Share of equal translations among the texts that both sides were given."""
    both = ours.keys() & theirs.keys()
    return sum(ours[text] == theirs[text] for text in both) / max(1, len(both))
