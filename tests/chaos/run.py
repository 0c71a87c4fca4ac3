"""One run of the chaos test: the same rows undisturbed and disturbed, in one stack, and what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import redis

from jobs.settings import Settings
from tests.chaos import rows
from tests.chaos.aof import AofHistory
from tests.chaos.output import Counted, Output, check, compare
from tests.chaos.patient import Patient
from tests.chaos.report import Report, restarts
from tests.chaos.scenario import Scenario
from tests.chaos.thrice.thrice_transport import SENT
from tests.chaos.tormentor import Tormentor
from tests.integration.stack.running import PLUGINS, TEST_SETTINGS, RunningStack
from tests.integration.stack.traces import read_trace
from textmill import Job, Textmill
from textmill.retry import RetryPolicy

THRICE = Path(__file__).parent / "thrice"

#: Seconds that the undisturbed run may take for each of its rows, beside a minute.
_CALM_SECONDS_PER_ROW = 0.002

#: Patient enough for a store that is away for a minute and then needs half of one to come back.
_RETRY = RetryPolicy(attempts=20, max_seconds=4.0)


class Screen(Protocol):
    """Shows how far the run is."""

    def phase(self, name: str) -> None:
        """Something else begins."""

    def progress(self, share: float) -> None:
        """So much of it is done, from 0 to 1."""

    def say(self, line: str) -> None:
        """Something happened. May be called from another thread."""


class ChaosRun:
    """One scenario with one seed, in a folder of its own."""

    def __init__(self, scenario: Scenario, seed: int, folder: Path, screen: Screen) -> None:
        self._scenario = scenario
        self._seed = seed
        self._folder = folder
        self._screen = screen
        self._done = 0
        data_dir = folder / "stack"
        data_dir.mkdir()
        self._stack = RunningStack(
            data_dir,
            workers=scenario.workers,
            settings={**TEST_SETTINGS, **scenario.settings()},
            plugins=[THRICE, PLUGINS],
        )

    def run(self) -> Report:
        """Everything, from the start of the stack to its end.

        Raises:
            OutputWrong: a row is missing, there twice, or another than it must be.
            JobFailed: a job did not complete.
            WaitTimeout: it did not end in time.
        """
        path = self._folder / "rows.jsonl"
        self._screen.phase("writing the rows")
        for count in rows.write(path, self._scenario.rows):
            self._screen.progress(count / self._scenario.rows)
        self._screen.phase("starting the stack")
        try:
            self._stack.start()
            with Textmill(
                self._stack.client.url, self._stack.client.api_key, retry=_RETRY
            ) as client:
                report = self._runs(client, path)
            self._stack.stop()
        finally:
            self._stack.end()
        return report

    def _runs(self, client: Textmill, path: Path) -> Report:
        file = client.files.upload(path)
        params: dict[str, object] = {"fail_on": rows.POISON}
        begun = time.monotonic()
        self._screen.phase("undisturbed")
        calm = client.jobs.create(kind="echo", input=file, params=params)
        calm.wait(progress=self._progress, timeout=60 + _CALM_SECONDS_PER_ROW * self._scenario.rows)
        calm_seconds = time.monotonic() - begun
        undisturbed, _ = self._output(client, calm, "undisturbed")

        trace = self._folder / "trace"
        params |= {"delay_ms": self._scenario.delay_ms, "trace": str(trace)}
        data = self._stack.data_dir / "data" / "valkey" / "appendonlydir"
        sent = self._messages()
        self._screen.phase("disturbed")
        with AofHistory(data) as history:
            patient = Patient(self._stack, history)
            begun = time.monotonic()
            job = client.jobs.create(kind="echo", input=file, params=params)
            self._done = 0
            tormentor = Tormentor(
                patient,
                self._scenario,
                self._seed,
                done=lambda: self._done,
                announce=self._screen.say,
            )
            with tormentor:
                job.wait(progress=self._progress, timeout=self._scenario.give_up)
                seconds = time.monotonic() - begun
        self._screen.phase("comparing")
        disturbed, counted = self._output(client, job, "disturbed")
        compare(undisturbed, disturbed)
        return Report(
            scenario=self._scenario,
            seed=self._seed,
            counted=counted,
            digests=disturbed.digests(),
            calm_seconds=calm_seconds,
            seconds=seconds,
            computed=sum(batch.rows for batch in read_trace(trace)),
            kills=patient.kills,
            bytes_cut=patient.bytes_cut,
            restarts=restarts((self._stack.data_dir / "up.log").read_text()),
            messages=self._messages() - sent,
            missed=tuple(tormentor.left),
        )

    def _output(self, client: Textmill, job: Job, name: str) -> tuple[Output, Counted]:
        output = Output(
            self._folder / f"{name}-results.jsonl", self._folder / f"{name}-errors.jsonl"
        )
        client.jobs.download(job.id, output.results, output="results")
        client.jobs.download(job.id, output.errors, output="errors")
        return output, check(output, self._scenario.rows, rows.expected)

    def _progress(self, job: Job) -> None:
        self._done = job.counts.done
        self._screen.progress(self._done / self._scenario.rows)

    def _messages(self) -> int:
        """Celery messages sent so far, as the transport counts them in the broker's database."""
        settings = Settings.from_environment(self._stack.embedded.environment())
        with redis.Redis.from_url(settings.celery_broker_url) as broker:
            return int(broker.get(SENT) or 0)
