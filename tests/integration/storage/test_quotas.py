"""Quotas: exact however many ask at once, and nothing is written for who is refused."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, cast

import pytest

from jobs.errors import InvalidRequest, QuotaExceeded
from jobs.ids import new_id, new_token
from jobs.ranges import RowRange
from jobs.schedule_names import ScheduleNames
from jobs.spec import JobSpec
from jobs.states import Status
from jobs.tenants import Tenant
from scheduler.accounts import Accountant
from storage.broker import Broker
from storage.files import FileTable
from storage.ledger import Answer, Ledger
from storage.ledger.accounts import ARRIVING_MS, RESERVED_MS, UsedUp, until_tomorrow
from storage.ledger.ranges import STARVED_MS
from storage.objects import ObjectStore
from storage.quotas import PIECE_BYTES, Arriving
from storage.set_up import set_up
from storage.submission import Submissions
from tests.integration.storage.ledgerbench import JOB, LedgerBench, new_job

TENANT = "acme"

DAY_MS = 86_400_000


def limit(ledger: Ledger, **limits: float) -> None:
    """Give the tenant limits of its own."""
    ledger.accounts.enter(Tenant(name=TENANT, created_at="", limits=limits))


def spec(rows: int = 1) -> JobSpec:
    return JobSpec.model_validate(
        {"kind": "echo", "input": {"items": [{"text": "a"} for _ in range(rows)]}}
    )


@pytest.fixture
def submissions(store: ObjectStore, ledger: Ledger, broker: Broker) -> Submissions:
    return Submissions(store, ledger, broker, set_up(store, ledger))


# --- jobs and rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [("jobs_unfinished", 7, 1, 7), ("rows_queued", 20, 3, 6)], ids=lambda case: str(case[0])
)
def test_fifty_at_once_get_no_more_than_there_is(
    submissions: Submissions,
    store: ObjectStore,
    ledger: Ledger,
    case: tuple[str, int, int, int],
) -> None:
    quota, most, rows, expected = case
    limit(ledger, **{quota: most})

    def submit(_number: int) -> QuotaExceeded | None:
        try:
            submissions.submit(TENANT, spec(rows), None)
        except QuotaExceeded as error:
            return error
        return None

    with ThreadPoolExecutor(50) as threads:
        refused = [error for error in threads.map(submit, range(50)) if error is not None]
    assert len(refused) == 50 - expected
    assert {error.fields[0].field for error in refused} == {quota}
    assert all(error.retry_after for error in refused)
    assert len(list(store.list(f"tenants/{TENANT}/jobs/"))) == expected
    standing = ledger.accounts.standing(TENANT)
    assert (standing.jobs_unfinished, standing.rows_queued) == (expected, expected * rows)


def test_a_repeated_submission_is_answered_though_nothing_is_left(
    submissions: Submissions, ledger: Ledger
) -> None:
    limit(ledger, jobs_unfinished=1)
    first, _ = submissions.submit(TENANT, spec(), None, "key")
    assert submissions.submit(TENANT, spec(), None, "key")[0].id == first.id
    with pytest.raises(QuotaExceeded):
        submissions.submit(TENANT, spec(), None, "other")
    assert submissions.submit("another", spec(), None, "key")[0].id != first.id


def test_a_job_that_can_never_fit_is_not_told_to_come_again(
    submissions: Submissions, ledger: Ledger
) -> None:
    limit(ledger, rows_queued=2)
    with pytest.raises(InvalidRequest, match="at most 2 rows"):
        submissions.submit(TENANT, spec(3), None)


def test_room_that_is_not_used_lapses(bench: LedgerBench) -> None:
    limit(bench.ledger, jobs_unfinished=1)
    assert bench.ledger.accounts.reserve(new_id("job"), TENANT, 1)[1] is None
    found = bench.ledger.accounts.reserve(new_id("job"), TENANT, 1)[1]
    assert isinstance(found, UsedUp)
    assert (found.quota, found.used, found.limit) == ("jobs_unfinished", 1, 1)
    bench.now += RESERVED_MS
    assert bench.ledger.accounts.reserve(new_id("job"), TENANT, 1)[1] is None


def queued(bench: LedgerBench) -> int:
    return bench.ledger.accounts.standing(TENANT).rows_queued


def test_rows_wait_until_they_are_done(bench: LedgerBench) -> None:
    bench.plan(30, 10, job=new_job(tenant=TENANT))
    assert queued(bench) == 30
    rows, token = bench.lease()
    bench.commit(rows, token, done=rows.cut(4)[0])
    assert queued(bench) == 26
    bench.commit(*bench.lease())
    bench.commit(rows, token, done=rows.cut(4)[0])  # once more, for its answer was lost
    assert queued(bench) == 20
    bench.jobs.cancel(JOB)
    assert queued(bench) == 0
    assert bench.ledger.accounts.standing(TENANT).jobs_unfinished == 1
    assert bench.client.call("finish", JOB, 1, "cancelled", 1, "", "completed", 14)
    assert bench.ledger.accounts.standing(TENANT).jobs_unfinished == 0


def test_a_retry_needs_room_too(bench: LedgerBench) -> None:
    bench.plan(10, 10, job=new_job(tenant=TENANT))
    bench.commit(*bench.lease(), errors=10)
    assert bench.client.call("finish", JOB, 1, "completed", 1, "", "completed", 0)
    limit(bench.ledger, jobs_unfinished=1)
    assert bench.jobs.enter(new_job("job_b", tenant=TENANT))
    assert bench.ledger.accounts.reserve(JOB, TENANT, 10)[1] is None, "as a submission it is known"
    assert bench.ledger.accounts.reserve(JOB, TENANT, 10, retry=True)[1] is not None
    assert bench.jobs.forget("job_b") is False
    bench.jobs.cancel("job_b")
    assert bench.client.call("finish", "job_b", 1, "cancelled", 1, "", "completed", 0)
    assert bench.ledger.accounts.reserve(JOB, TENANT, 10, retry=True)[1] is None
    assert bench.jobs.retry(JOB, 2, 0, None)[0]
    assert bench.ledger.accounts.standing(TENANT).jobs_unfinished == 1


def test_a_restored_job_counts_as_before(bench: LedgerBench) -> None:
    bench.plan(30, 10, job=new_job(tenant=TENANT))
    bench.commit(*bench.lease())
    token = new_token()
    restoring = bench.ledger.restoring
    restoring.begin(JOB, token, TENANT, 1, new_job(tenant=TENANT).fields())
    for start in (0, 10, 20):
        restoring.enter(JOB, token, RowRange(start, start + 10), [])
    restoring.end(JOB, token, rows=30, warnings="[]", cancelled=False)
    assert queued(bench) == 30
    assert bench.ledger.accounts.standing(TENANT).jobs_unfinished == 1


def test_the_sweeper_counts_a_job_that_was_forgotten(bench: LedgerBench) -> None:
    bench.plan(30, 10, job=new_job(tenant=TENANT))
    bench.client.redis.delete(f"tenant:{TENANT}:unfinished")
    bench.ranges.sweep(JOB)
    assert bench.ledger.accounts.standing(TENANT).jobs_unfinished == 1


# --- device-seconds ------------------------------------------------------------------------------------


@pytest.fixture
def spent(bench: LedgerBench) -> LedgerBench:
    """A ledger in which the tenant has used up what it has for today, and more of its rows wait."""
    bench.plan(20, 10, job=new_job(tenant=TENANT))
    bench.commit(*bench.lease())  # 5 ms
    limit(bench.ledger, device_seconds_per_day=0.005)
    return bench


def test_nobody_works_for_a_tenant_without_device_seconds(spent: LedgerBench) -> None:
    assert spent.ranges.choose([]) is None
    assert spent.ledger.workers.invite("cpu", 1) is None
    spent.ranges.sweep(JOB)
    assert "00:00 UTC" in (spent.record().waiting or "")
    version = spent.record().version
    spent.ranges.sweep(JOB)
    assert spent.record().version == version, "nothing has changed"
    spent.plan(10, 10, job=new_job("job_b", tenant="other"))
    spent.now += STARVED_MS
    assert spent.ranges.choose([]) == "job_b"
    rows, token = spent.lease("job_b")
    assert spent.ranges.heartbeat("job_b", rows, token) is Answer.OK, "nothing to make room for"


def test_however_many_have_used_up_theirs_the_next_is_served(bench: LedgerBench) -> None:
    for number in range(40):
        name = f"t{number}"
        bench.plan(10, 10, job=new_job(f"job_{number}", tenant=name))
        bench.ledger.accounts.enter(
            Tenant(name=name, created_at="", limits={"device_seconds_per_day": 0})
        )
    assert bench.ranges.choose([]) is None
    bench.plan(10, 10, job=new_job("job_good", tenant="good"))
    assert bench.ranges.choose([]) == "job_good"
    assert bench.ledger.workers.invite("cpu", 1) is not None


def test_device_seconds_begin_anew_each_day(spent: LedgerBench) -> None:
    found = spent.ledger.accounts.reserve(new_id("job"), TENANT, 1)[1]
    assert found is not None
    assert found.quota == "device_seconds_per_day"
    seconds = until_tomorrow(found.now)
    spent.ranges.sweep(JOB)
    spent.now += (seconds - 1) * 1000
    assert spent.ranges.choose([]) is None
    spent.now += 1000
    assert spent.ranges.choose([]) == JOB
    assert spent.ledger.accounts.reserve(new_id("job"), TENANT, 1)[1] is None
    spent.ranges.sweep(JOB)
    assert spent.record().waiting is None
    assert spent.status() is Status.IN_PROGRESS
    assert spent.ledger.accounts.today().toordinal() == 719_163 + spent.now // DAY_MS


# --- bytes --------------------------------------------------------------------------------------------


class _Slow(io.RawIOBase):
    """So many bytes, a little with each read."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        some = min(self.left, size, 100_000)
        self.left -= some
        return b"x" * some


def upload(store: ObjectStore, ledger: Ledger, size: int) -> _Slow:
    stream = _Slow(size)
    with Arriving(ledger, TENANT) as room:
        watched = room.watch(cast(BinaryIO, stream))
        room.keep(FileTable(store).upload(TENANT, "a.txt", watched, 1 << 40).bytes)
    return stream


@pytest.fixture
def quota(submissions: Submissions, ledger: Ledger) -> int:
    """Bytes that the tenant may store."""
    size = PIECE_BYTES + 1_000_000
    limit(ledger, bytes_stored=size)
    return size


def test_an_upload_is_stopped_in_its_middle(store: ObjectStore, ledger: Ledger, quota: int) -> None:
    stream = _Slow(100 * quota)
    with pytest.raises(QuotaExceeded), Arriving(ledger, TENANT) as room:
        FileTable(store).upload(TENANT, "a.txt", room.watch(cast(BinaryIO, stream)), 1 << 40)
    assert 100 * quota - stream.left < quota + (1 << 20)
    assert list(store.list(f"tenants/{TENANT}/")) == []
    upload(store, ledger, quota)  # to the byte
    with pytest.raises(QuotaExceeded):
        upload(store, ledger, 1)
    assert ledger.accounts.standing(TENANT).bytes_stored == quota


def test_a_known_length_is_refused_before_a_byte_is_read(ledger: Ledger, quota: int) -> None:
    with pytest.raises(QuotaExceeded) as caught, Arriving(ledger, TENANT) as room:
        room.expect(quota + 1)
    assert [field.field for field in caught.value.fields] == ["bytes_stored"]
    with Arriving(ledger, TENANT) as room:
        room.expect(quota)


def test_uploads_side_by_side_share_the_quota(bench: LedgerBench) -> None:
    limit(bench.ledger, bytes_stored=100)
    arrive = bench.ledger.accounts.arrive
    assert arrive(TENANT, "a", 60) is True
    assert isinstance(arrive(TENANT, "b", 60), UsedUp)
    assert arrive(TENANT, "b", 40) is True
    bench.ledger.accounts.stored(TENANT, 60, "a")
    assert isinstance(arrive(TENANT, "c", 1), UsedUp)
    bench.now += ARRIVING_MS
    assert bench.ledger.accounts.arrive(TENANT, "c", 40) is True
    assert arrive("free", "c", 1 << 50) is False


def test_a_listing_corrects_what_was_counted(
    store: ObjectStore, ledger: Ledger, quota: int
) -> None:
    upload(store, ledger, 1_000)
    store.put(ScheduleNames(TENANT, "schedule_x").indexes("") + "x/digests/0", b"x" * 500)
    ledger.accounts.stored(TENANT, 12_345)
    Accountant(store, ledger).measure()
    standing = ledger.accounts.standing(TENANT)
    listed = sum(info.size for info in store.list(f"tenants/{TENANT}/files/"))
    assert standing.bytes_stored == listed + 500 >= 1_500
    assert standing.bytes_measured_at is not None


def test_what_comes_while_it_is_listed_is_counted(bench: LedgerBench) -> None:
    accounts = bench.ledger.accounts
    accounts.stored(TENANT, 500)
    accounts.measured(TENANT)
    accounts.stored(TENANT, 70)
    accounts.measured(TENANT, 100)
    assert accounts.standing(TENANT).bytes_stored == 170
    accounts.stored(TENANT, -1000)
    assert accounts.standing(TENANT).bytes_stored == 0
