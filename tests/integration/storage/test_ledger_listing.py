"""Reading and listing jobs."""

from __future__ import annotations

import itertools

import pytest

from jobs.errors import NotFound
from jobs.ranges import RowRange
from jobs.states import Lane, Priority, Status
from storage.ledger import JobFilter, NewJob
from tests.integration.storage.ledgerbench import START, TENANT, LedgerBench, new_job


def ids(bench: LedgerBench, wanted: JobFilter, limit: int, tenant: str = TENANT) -> list[list[str]]:
    """Ids of all jobs that a listing shows, page by page."""
    pages: list[list[str]] = []
    after, more = None, True
    while more:
        found, more = bench.jobs.page(tenant, wanted, after=after, limit=limit)
        pages.append([record.id for record in found])
        after = found[-1].id if found else None
    return pages


def test_a_job_is_entered_once(bench: LedgerBench) -> None:
    assert bench.jobs.enter(new_job(name="first"))
    assert not bench.jobs.enter(new_job(name="second"))
    assert bench.jobs.get(TENANT, "job_a").name == "first"


def test_a_job_is_read_as_it_was_entered(bench: LedgerBench) -> None:
    bench.jobs.enter(
        NewJob(
            id="job_a",
            tenant=TENANT,
            kind="summarize",
            model={"ref": "pkg:weights"},
            model_key="pkg:weights",
            name="Näme\n",
            priority=Priority.LOW,
            metadata={"team": "x", "": ""},
            max_error_rows=None,
            max_error_share=0.5,
            lane=Lane.BULK,
            window_ms=60_000,
            created_at=START,
        )
    )
    record = bench.jobs.get(TENANT, "job_a")
    assert (record.kind, record.model, record.name) == (
        "summarize",
        {"ref": "pkg:weights"},
        "Näme\n",
    )
    assert (record.priority, record.metadata) == (Priority.LOW, {"team": "x", "": ""})
    assert (record.status, record.created_at, record.total) == (Status.VALIDATING, START, None)
    assert (record.lane, record.expires_at) == (Lane.BULK, START + 60_000)


def test_a_tenant_sees_no_job_of_another(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job("job_a", tenant="one"))
    bench.jobs.enter(new_job("job_b", tenant="two"))
    with pytest.raises(NotFound):
        bench.jobs.get("two", "job_a")
    with pytest.raises(NotFound):
        bench.jobs.get("one", "job_missing")
    assert ids(bench, JobFilter(), 10, "one") == [["job_a"]]
    assert ids(bench, JobFilter(), 10, "three") == [[]]
    with pytest.raises(NotFound):
        bench.jobs.page("one", JobFilter(), after="job_b", limit=1)


def test_pages_are_newest_first_and_miss_nothing(bench: LedgerBench) -> None:
    for number in range(7):
        bench.jobs.enter(new_job(f"job_{number}", created_at=START + number))
    assert ids(bench, JobFilter(), 3) == [
        ["job_6", "job_5", "job_4"],
        ["job_3", "job_2", "job_1"],
        ["job_0"],
    ]
    assert ids(bench, JobFilter(), 7) == [[f"job_{number}" for number in range(6, -1, -1)]]


def test_jobs_of_one_millisecond_keep_one_order(bench: LedgerBench) -> None:
    for number in range(5):
        bench.jobs.enter(new_job(f"job_{number}", created_at=START))
    whole = ids(bench, JobFilter(), 5)[0]
    assert list(itertools.chain(*ids(bench, JobFilter(), 2))) == whole
    assert sorted(whole) == [f"job_{number}" for number in range(5)]


def test_a_job_that_comes_between_two_pages_moves_nothing(bench: LedgerBench) -> None:
    for number in range(4):
        bench.jobs.enter(new_job(f"job_{number}", created_at=START + number))
    first, _ = bench.jobs.page(TENANT, JobFilter(), after=None, limit=2)
    bench.jobs.enter(new_job("job_9", created_at=START + 9))
    second, more = bench.jobs.page(TENANT, JobFilter(), after=first[-1].id, limit=2)
    assert [record.id for record in first + second] == ["job_3", "job_2", "job_1", "job_0"]
    assert not more


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (JobFilter(kind="classify"), [0, 2, 4, 6, 8]),
        (JobFilter(name="nightly"), [0, 3, 6, 9]),
        (JobFilter(status=Status.CANCELLING), [4, 8]),
        (JobFilter(kind="classify", name="nightly"), [0, 6]),
        (JobFilter(status=Status.COMPLETED), []),
    ],
)
def test_filters(bench: LedgerBench, wanted: JobFilter, expected: list[int]) -> None:
    for number in range(10):
        bench.jobs.enter(
            new_job(
                f"job_{number}",
                created_at=START + number,
                kind="summarize" if number % 2 else "classify",
                name=None if number % 3 else "nightly",
            )
        )
    bench.jobs.cancel("job_4")
    bench.jobs.cancel("job_8")
    found = [f"job_{number}" for number in reversed(expected)]
    for limit in (1, 2, 10):
        pages = ids(bench, wanted, limit)
        assert list(itertools.chain(*pages)) == found
        assert all(len(page) == limit for page in pages[:-1])


def test_a_filter_finds_a_job_far_back(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job("job_old", created_at=START, name="wanted"))
    for number in range(250):
        bench.jobs.enter(new_job(f"job_{number}", created_at=START + 1 + number))
    assert ids(bench, JobFilter(name="wanted"), 10) == [["job_old"]]
    assert sum(len(page) for page in ids(bench, JobFilter(), 100)) == 251


def test_every_change_grows_the_version(bench: LedgerBench) -> None:
    seen: list[int] = []
    bench.jobs.enter(new_job())
    seen.append(bench.jobs.get("default", "job_a").version)
    token = "t" * 32
    bench.ranges.plan_begin("job_a", token)
    rows = RowRange(0, 10)
    bench.ranges.add("job_a", token, rows)
    seen.append(bench.jobs.get("default", "job_a").version)
    bench.ranges.seal("job_a", token, len(rows), "[]")
    seen.append(bench.jobs.get("default", "job_a").version)
    lease = bench.lease()
    seen.append(bench.jobs.get("default", "job_a").version)
    bench.commit(*lease)
    seen.append(bench.jobs.get("default", "job_a").version)
    assert seen == sorted(set(seen))
