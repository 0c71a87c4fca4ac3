"""Sweeping many jobs at once."""

from __future__ import annotations

import pytest

from jobs.errors import Unavailable
from jobs.states import Status
from storage.ledger import Swept
from tests.integration.storage.ledgerbench import LedgerBench, new_job


def test_each_of_many_jobs_is_swept_as_it_would_be_alone(bench: LedgerBench) -> None:
    names = [f"job_{number}" for number in range(250)]
    for name in names:
        bench.plan(1, 1, job=new_job(name))
    rows, _ = bench.lease("job_123")
    bench.lapse()

    found = dict(bench.ranges.sweep_each([*names, "job_unknown"]))

    assert list(found) == [*names, "job_unknown"]
    assert [name for name in names if found[name].expired] == ["job_123"]
    assert bench.claimable("job_123") == [rows]
    assert all(found[name].status is Status.IN_PROGRESS for name in names)
    assert found["job_unknown"] == Swept(0, None, "", found["job_unknown"].lane)


def test_a_ledger_that_is_being_built_is_swept_by_nobody(bench: LedgerBench) -> None:
    bench.plan(1, 1)
    bench.ledger.give_up()
    with pytest.raises(Unavailable, match="being built"):
        list(bench.ranges.sweep_each(["job_a"]))
