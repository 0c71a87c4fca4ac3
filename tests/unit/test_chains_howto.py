"""The chain in the guide is one that a schedule can have, and its training can read what its classification makes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson

from jobs.intake import ReadOptions
from jobs.intake.results import result_rows
from jobs.rows import Row
from jobs.schedules import ScheduleSpec
from nlp.kinds.fine_tune import FineTune

GUIDE = Path(__file__).parents[2] / "docs/howto/chains.md"


def test_the_guides_chain_trains_on_what_is_sure() -> None:
    found = re.findall(r"<<'JSON'\n(.*?)^JSON$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    job, steps = (json.loads(one) for one in found)
    made = ScheduleSpec.model_validate({"cron": "30 2 * * 0", "job": job, "then": steps})
    (step,) = made.then
    reading = step.job.reading("job_" + "0" * 26)
    kind = FineTune()
    assert reading.kind == kind.name
    params: Any = kind.Params.model_validate(reading.params)
    given = reading.input
    options = ReadOptions(
        text_field=given.text_field, id_field=given.id_field, keep=kind.fields_of(params)
    )
    results = [
        {
            "custom_id": f"r{number}",
            "index": number,
            "output": {"label": "billing", "score": score, "labels": []},
            "fields": {"text": "Where is my refund?"},
        }
        for number, score in enumerate((0.95, 0.5, 0.9))
    ]
    lines = b"\n".join(map(orjson.dumps, results))
    rows = list(result_rows([lines], given, source="job:x", options=options))
    assert rows == [
        Row(0, "Where is my refund?", "r0", {"label": "billing"}),
        Row(1, "Where is my refund?", "r2", {"label": "billing"}),
    ]
    assert [kind.check(row, params) for row in rows if isinstance(row, Row)] == [None, None]
