"""One submission sent by fifty at once with one key, again and again, while the API is killed: one job."""

from __future__ import annotations

import contextlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
from minio import Minio

from tests.integration.stack.dialogue import outcome, submission
from tests.integration.stack.running import RunningStack, wait_for
from textmill import Textmill

THREADS = 50
#: How often the API is killed.
KILLS = 2
BACK_SECONDS = 60.0


def test_one_job_comes_of_it(stack: RunningStack, tm: Textmill, s3: Minio) -> None:
    key, name = uuid.uuid4().hex, uuid.uuid4().hex
    over = threading.Event()
    answers: list[tuple[int, str]] = []
    body = submission(name=name)

    def send() -> None:
        headers = {"Authorization": f"Bearer {stack.client.api_key}", "Idempotency-Key": key}
        with httpx.Client(
            base_url=stack.client.url, headers=headers, trust_env=False, timeout=30
        ) as http:
            acknowledged = 0
            # To the end of the kills, and until somebody answered this very client.
            while not over.is_set() or not acknowledged:
                with contextlib.suppress(httpx.TransportError):
                    reply = http.post("/v1/jobs", json=body)
                    acknowledged += reply.status_code in (200, 201)
                    answers.append((reply.status_code, reply.json().get("id", "")))

    with ThreadPoolExecutor(THREADS) as pool:
        sent = [pool.submit(send) for _ in range(THREADS)]
        try:
            for _ in range(KILLS):
                count = len(answers)
                wait_for(lambda count=count: len(answers) > count + 20, BACK_SECONDS)  # type: ignore[misc]
                victim = stack.process("api")
                assert victim is not None
                stack.note_processes()
                victim.kill()
                wait_for(lambda dead=victim: stack.process("api") not in {None, dead}, BACK_SECONDS)  # type: ignore[misc]
                wait_for(lambda: tm.ready().ok, BACK_SECONDS)
        finally:
            over.set()
        for one in sent:
            one.result()
    stack.note_processes()

    statuses = {status for status, _ in answers}
    assert statuses <= {200, 201, 503}, statuses
    assert {status for status, _ in answers if status == 201}
    ids = {job_id for status, job_id in answers if status in (200, 201)}
    assert len(ids) == 1
    (job_id,) = ids
    assert [job.id for job in tm.jobs.list(name=name)] == [job_id]
    results, errors = outcome(tm.jobs.get(job_id))
    assert (len(results), len(errors)) == (1, 0)
    other = httpx.post(
        f"{stack.client.url}/v1/jobs",
        json=submission(name=name + "x"),
        headers={"Authorization": f"Bearer {stack.client.api_key}", "Idempotency-Key": key},
        trust_env=False,
    )
    assert other.status_code == 409
