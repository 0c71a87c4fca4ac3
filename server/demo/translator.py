"""Learning to translate dates with no model to start from: made, measured and used within a minute or two."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from server.demo.dates import DatePair, date_pairs
from textmill import Job, Textmill

NAME = "dates"

#: Dates that the model is measured on and then translates.
_HELD_OUT = 300
#: Half of what a training goes through by itself, for people who watch: enough for nearly all dates. Many small steps
#: get further in the same time than fewer large ones.
_STEPS, _BATCH = 1000, 32


@dataclass(frozen=True, kw_only=True)
class Taught:
    """What came of it."""

    training: Job
    translating: Job
    metrics: Mapping[str, float]  #: as the training says, on the dates held out
    right: int  #: dates held out that the next job wrote as CLDR does
    examples: list[tuple[DatePair, str]]  #: dates held out, with what the next job wrote

    @property
    def held_out(self) -> int:
        """Dates that were not trained on."""
        return len(self.examples)


def start_teaching(textmill: Textmill, dates: int) -> Job:
    """Submit the training.

    Args:
        dates: that are trained on.
    """
    pairs = date_pairs(_HELD_OUT + dates)
    held_out = textmill.files.upload(_lines(pairs[:_HELD_OUT]), filename="dates-held-out.jsonl")
    training = textmill.files.upload(_lines(pairs[_HELD_OUT:]), filename="dates.jsonl")
    return textmill.jobs.create(
        kind="fine_tune",
        model="scratch:marian",
        name="demo: dates from English to German",
        input=training,
        params={
            "task": "translate",
            "source_lang": "en",
            "target_lang": "de",
            "output_name": NAME,
            "test": held_out.id,
            "batch_size": _BATCH,
            "epochs": round(_STEPS * _BATCH / dates, 2),
        },
    )


def translate_dates(textmill: Textmill, training: Job, progress: Callable[[Job], None]) -> Taught:
    """Translate the dates held out by the new version."""
    (result,) = training.results()
    pairs = date_pairs(_HELD_OUT)
    job = textmill.jobs.create(
        kind="translate",
        model=f"registry:{NAME}@latest",
        name="demo: dates by the new model",
        input=[{"custom_id": str(n), "text": pair.english} for n, pair in enumerate(pairs)],
        params={"source_lang": "en", "target_lang": "de"},
    ).wait(progress=progress)
    written = {int(row["custom_id"]): row["output"]["translation"] for row in job.results()}
    examples = [(pair, written.get(n, "")) for n, pair in enumerate(pairs)]
    return Taught(
        training=training,
        translating=job,
        metrics=result["output"]["metrics"],
        right=sum(pair.german == german for pair, german in examples),
        examples=examples,
    )


def _lines(pairs: list[DatePair]) -> io.BytesIO:
    return io.BytesIO(b"\n".join(orjson.dumps(pair.row()) for pair in pairs))
