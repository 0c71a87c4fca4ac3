"""Nights of a schedule on a whole stack: what lies in the bucket for readers, and what is removed again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from minio import Minio

from api.schemas.schedules import RunPage
from tests.integration.stack.commands import textmill
from tests.integration.stack.running import RunningStack, wait_for
from textmill import NotFound, Textmill
from textmill.schedules import Run

#: Generous: a busy machine may take long for what is done in a second.
SECONDS = 90.0

#: 25 hours apart: it is never the same day in both.
WEST, EAST = "Pacific/Pago_Pago", "Pacific/Kiritimati"


class Bucket:
    """What lies below a prefix of the bucket ``corpora``."""

    def __init__(self, s3: Minio, folder: str) -> None:
        self._s3 = s3
        self.folder = folder

    def names(self) -> list[str]:
        found = self._s3.list_objects("corpora", prefix=self.folder, recursive=True)
        return [str(one.object_name).removeprefix(self.folder) for one in found]

    def json(self, name: str) -> dict[str, Any]:
        answer = self._s3.get_object("corpora", self.folder + name)
        found = orjson.loads(answer.read())
        answer.release_conn()
        assert isinstance(found, dict)
        return found

    def put(self, name: str) -> None:
        self._s3.put_object("corpora", self.folder + name, io.BytesIO(b"mine"), 4)


@pytest.fixture
def bucket(s3: Minio, folder: str) -> Bucket:
    return Bucket(s3, folder)


def test_a_second_run_of_a_day_replaces_the_first_and_older_runs_go(
    stack: RunningStack, tm: Textmill, http: httpx.Client, bucket: Bucket, tmp_path: Path
) -> None:
    job = {
        "kind": "echo",
        "input": {"items": [{"text": "a"}, {"text": "b"}]},
        "output": {"uri": f"s3://corpora/{bucket.folder}", "format": "parquet"},
    }
    (tmp_path / "job.json").write_bytes(orjson.dumps(job))
    words = ["create", "--job", "job.json", "--cron", "0 0 1 1 *", "--timezone", WEST]
    told = textmill(stack, "schedules", *words, "--keep-runs", "2", "--json", cwd=tmp_path)
    made = tm.schedules.get(orjson.loads(told.stdout)["id"])
    assert made.keep == {"runs": 2, "days": None}

    def run() -> Run:
        asked = tm.schedules.trigger(made.id)

        def found() -> Run:
            return next(one for one in tm.schedules.runs(made.id) if one.id == asked.id)

        wait_for(lambda: found().status == "completed", SECONDS)
        return found()

    first = run()
    assert first.job is not None
    day = bucket.json("_latest.json")["date"]
    bucket.put(f"date={day}/part-mine.parquet")
    tm.schedules.change(made.id, timezone=EAST)
    second = run()
    third = run()
    latest = bucket.json("_latest.json")
    assert latest["date"] > day
    assert (latest["job"], latest["run"], latest["schedule"]) == (third.job, third.id, made.id)
    assert bucket.json(f"date={latest['date']}/_SUCCESS") == latest
    parts = [name for name in bucket.names() if name.startswith(f"date={latest['date']}/part-")]
    assert parts == [f"date={latest['date']}/part-00000-{third.job}.parquet"]
    assert second.job is not None
    assert tm.jobs.get(second.job).raw["output"]["layout"] == "date"

    def removed() -> list[bool]:
        return [one.removed_at is not None for one in tm.schedules.runs(made.id)]

    wait_for(lambda: removed() == [False, False, True], SECONDS)
    with pytest.raises(NotFound):
        tm.jobs.get(first.job)
    assert "removed" in textmill(stack, "schedules", "runs", made.id, cwd=tmp_path).stdout
    old = [name for name in bucket.names() if name.startswith(f"date={day}/")]
    assert old == [f"date={day}/part-mine.parquet"]
    RunPage.model_validate(http.get(f"/v1/schedules/{made.id}/runs").json())
    for body in (b'{"keep": {}}', b'{"keep": null}'):
        headers = {"Content-Type": "application/json"}
        patched = http.patch(f"/v1/schedules/{made.id}", content=body, headers=headers)
        assert patched.json()["keep"] is None
    tm.schedules.delete(made.id)
