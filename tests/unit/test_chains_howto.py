"""The chain in the guide is one that a schedule can have."""

from __future__ import annotations

import json
import re
from pathlib import Path

from jobs.schedules import ScheduleSpec

GUIDE = Path(__file__).parents[2] / "docs/howto/chains.md"


def test_the_guides_chain_is_taken() -> None:
    found = re.findall(r"<<'JSON'\n(.*?)^JSON$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    job, steps = (json.loads(one) for one in found)
    made = ScheduleSpec.model_validate({"cron": "30 2 * * 0", "job": job, "then": steps})
    assert [one.job.kind for one in made.then] == ["fine_tune"]
    assert made.then[0].job.reading("job_" + "0" * 26).input.where[0].holds(0.9)
