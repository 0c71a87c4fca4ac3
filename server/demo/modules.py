"""Learning where a docstring is from: a model is trained on text of this machine, measured, and used at once."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from server.demo.corpus import Document, docstrings
from textmill import Job, Textmill

#: Modules to tell apart: those with the most docstrings.
_MODULES = 8
#: Part of their docstrings that is not trained on.
_HELD_OUT = 0.25
#: Enough to tell what a docstring is about, and quick.
_TOKENS = 64
#: Less often than the training would go through them by itself, for people who watch.
_EPOCHS = 6
#: Chooses the same rows on every run.
_SEED = 31

NAME = "docstrings"


@dataclass(frozen=True)
class Labelled:
    """Docstrings with the module that each is from."""

    training: list[dict[str, str]]
    held_out: list[dict[str, str]]
    modules: list[str]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What came of it."""

    training: Job
    labelling: Job
    labelled: Labelled
    metrics: Mapping[str, float]  #: as the training says, on the rows held out
    baselines: Mapping[str, Mapping[str, float]]
    right: int  #: rows held out that the next job labelled rightly
    examples: list[tuple[str, str, str]]  #: text, module, label given


def labelled_docstrings(most: int, modules: int = _MODULES) -> Labelled:
    """The docstrings of the modules that have most of them.

    Args:
        most: docstrings that are taken of each module.
    """
    found = docstrings(1_000_000)
    counts = Counter(map(_module, found))
    chosen = sorted(counts, key=lambda name: (-counts[name], name))[:modules]
    training: list[dict[str, str]] = []
    held_out: list[dict[str, str]] = []
    for module in chosen:
        rows = [_row(one, module) for one in found if _module(one) == module][:most]
        cut = round(_HELD_OUT * len(rows))
        held_out += rows[:cut]
        training += rows[cut:]
    chooser = random.Random(_SEED)  # noqa: S311  (an order of examples, not a secret)
    chooser.shuffle(training)
    chooser.shuffle(held_out)
    return Labelled(training, held_out, chosen)


def start_training(
    textmill: Textmill, model: str, labelled: Labelled, *, epochs: int = _EPOCHS
) -> Job:
    """Submit the training. Rows to train on are uploaded, and those that measure the result."""
    with tempfile.TemporaryDirectory() as scratch:
        files = [
            _write(Path(scratch) / f"{name}.jsonl", rows)
            for name, rows in (
                ("docstrings", labelled.training),
                ("docstrings-held-out", labelled.held_out),
            )
        ]
        test = textmill.files.upload(files[1])
        return textmill.jobs.create(
            kind="fine_tune",
            model=model,
            name="demo: which module a docstring is from",
            input=files[0],
            params={
                "task": "classify",
                "output_name": NAME,
                "test": test.id,
                "max_tokens": _TOKENS,
                "epochs": epochs,
            },
        )


def use_model(
    textmill: Textmill, training: Job, labelled: Labelled, progress: Callable[[Job], None]
) -> Tuned:
    """Label the rows held out by the new version."""
    (result,) = training.results()
    output = result["output"]
    texts = [{"custom_id": str(n), "text": row["text"]} for n, row in enumerate(labelled.held_out)]
    job = textmill.jobs.create(
        kind="classify",
        model=f"registry:{NAME}@latest",
        name="demo: docstrings by the new model",
        input=texts,
    ).wait(progress=progress)
    given = {int(row["custom_id"]): row["output"]["label"] for row in job.results()}
    examples = [
        (row["text"], row["label"], given.get(n) or "") for n, row in enumerate(labelled.held_out)
    ]
    return Tuned(
        training=training,
        labelling=job,
        labelled=labelled,
        metrics=output["metrics"],
        baselines=output["baselines"],
        right=sum(module == label for _, module, label in examples),
        examples=examples,
    )


def _module(document: Document) -> str:
    return document.id.partition(".")[0]


def _row(document: Document, module: str) -> dict[str, str]:
    return {"text": document.text, "label": module}


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return path
