"""Planner, worker and finalizer in this process, one step at a time, on a real ledger and a real store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import orjson

from jobs.devices import Device
from jobs.ids import new_token
from jobs.kinds import KindRegistry
from jobs.names import JobNames
from jobs.ranges import RowRange
from jobs.record import JobRecord
from jobs.settings import Settings
from jobs.spec import JobSpec
from jobs.states import Status
from nlp.cache import ModelCache
from storage.broker import Broker
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.set_up import set_up
from storage.submission import Submissions, read_manifest
from tests.plugins.echo_kind import Echo
from tests.plugins.sums_kind import Sums
from workers.finalizer import finalize_job
from workers.planner import plan_job
from workers.presence import Presence
from workers.runtime import Runtime
from workers.work import ModelWorker

TENANT = "default"
CPU = Device(type="cpu", name="cpu", memory_bytes=1 << 30)


class Workshop:
    """Everything that a job meets on its way, driven by the test."""

    def __init__(self, settings: Settings, broker: Broker, device: Device = CPU) -> None:
        self.store = ObjectStore.connect(settings)
        self.ledger = Ledger.connect(settings)
        self.installation = set_up(self.store, self.ledger)
        self.submissions = Submissions(self.store, self.ledger, broker, self.installation)
        self.broker = broker
        self.runtime = Runtime(
            settings=settings,
            store=self.store,
            ledger=self.ledger,
            broker=broker,
            kinds=KindRegistry([Echo(), Sums()]),
            device=device,
        )
        presence = Presence(self.runtime, "model")
        self.worker = ModelWorker(self.runtime, ModelCache(1 << 30, device), presence)

    # --- steps ---------------------------------------------------------------------------------------

    def submit(self, texts: list[str | None], window: str | None = None, **params: Any) -> str:
        """Take a job of these rows in; those without a text become errors. Its id."""
        items = [
            {"custom_id": f"r{n}", **({} if text is None else {"text": text})}
            for n, text in enumerate(texts)
        ]
        body = {"kind": "echo", "input": {"items": items}, "params": params}
        if window is not None:
            body["completion_window"] = window
        return self.submissions.submit(TENANT, JobSpec.model_validate(body), None)[0].id

    def plan(self, job_id: str) -> None:
        plan_job(self.runtime, job_id)

    def work(self) -> None:
        """Let one worker do all there is to do."""
        while (invitation := self.ledger.workers.invite("cpu", 1)) is not None:
            self.worker.serve(invitation[0])

    def work_once(self) -> None:
        """Let one worker follow one invitation."""
        invitation = self.ledger.workers.invite("cpu", 1)
        assert invitation is not None
        self.worker.serve(invitation[0])

    def die(self, job_id: str) -> None:
        """Let a worker claim a range and die of it."""
        redis = self.ledger.client.redis
        rows, _ = self.lease(job_id)
        redis.zadd(f"job:{job_id}:expiry", {str(rows): 1})
        redis.hset("ledger:watch", mapping={"run_id": "server", "since": 1, "seen": 1})
        assert self.ledger.ranges.sweep(job_id).expired == 1

    def finalize(self, job_id: str) -> None:
        finalize_job(self.runtime, job_id)

    def run(self, job_id: str) -> None:
        """From the plan to the end."""
        self.plan(job_id)
        self.work()
        self.finalize(job_id)

    def give_up_roles(self, job_id: str) -> None:
        """As if whoever plans or finalizes had been silent for long enough."""
        self.ledger.client.redis.hset(
            f"job:{job_id}", mapping={"planner_until": 0, "finalizer_until": 0}
        )

    def expire(self, job_id: str) -> None:
        """Let the window pass, and have it noticed."""
        self.ledger.client.redis.hset(f"job:{job_id}", "expires_at", 1)
        assert self.ledger.ranges.sweep(job_id).status is Status.FINALIZING

    def lease(self, job_id: str) -> tuple[RowRange, str]:
        """Claim a range as a worker that will do nothing with it."""
        token = new_token()
        claim = self.ledger.ranges.claim(job_id, token)
        assert claim is not None
        return claim.rows, token

    # --- what came of it -----------------------------------------------------------------------------

    def record(self, job_id: str) -> JobRecord:
        return self.ledger.jobs.get(TENANT, job_id)

    def names(self, job_id: str) -> JobNames:
        return JobNames(TENANT, job_id, self.record(job_id).attempts)

    def parts(self, job_id: str) -> list[str]:
        """Names of the committed parts' objects."""
        names = self.names(job_id)
        return [names.part(part.rows, part.token) for part in self.ledger.ranges.parts(job_id)]

    def lines(self, job_id: str, section: str) -> list[dict[str, Any]]:
        """``results`` or ``errors`` as the manifest names them."""
        manifest = read_manifest(self.store, self.names(job_id))
        data = self.store.get(manifest["outputs"][section]["object"])
        return [cast("dict[str, Any]", orjson.loads(line)) for line in data.splitlines()]

    def outcome(self, job_id: str) -> tuple[Status, dict[int, str], dict[int, str]]:
        """How it ended, the text of each result and the code of each error, by row."""
        results = {line["index"]: line["output"]["text"] for line in self.lines(job_id, "results")}
        errors = {line["index"]: line["error"]["code"] for line in self.lines(job_id, "errors")}
        record = self.record(job_id)
        assert (record.completed, record.failed) == (len(results), len(errors))
        assert list(results) == sorted(results)
        assert list(errors) == sorted(errors)
        return record.status, results, errors


def texts(count: int) -> list[str | None]:
    """So many different texts."""
    return [f"text {number}" for number in range(count)]


def expected(rows: Iterable[int]) -> dict[int, str]:
    """What becomes of them."""
    return {row: f"text {row}" for row in rows}
