"""Usage by day and the audit log: in the ledger first, in the store for good, and each thing counted once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.errors import Unavailable
from jobs.names import TenantNames
from scheduler.accounts import Accountant
from storage.audit import AuditEntry, AuditLog
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.rebuild import rebuild
from storage.usage import RequestCounter, Usage, UsageBook
from tests.integration.storage.ledgerbench import LedgerBench, make_whole, new_job

TENANT = "acme"


@pytest.fixture
def book(store: ObjectStore, ledger: Ledger) -> UsageBook:
    make_whole(ledger)
    return UsageBook(store, ledger)


def use(ledger: Ledger, calls: int, size: int = 0) -> None:
    ledger.admission.count({TENANT: calls})
    if size:
        ledger.accounts.stored(TENANT, size, "upload")


def read(book: UsageBook, ledger: Ledger) -> Usage:
    today = ledger.accounts.today()
    days = book.read(TENANT, today - timedelta(days=2), today)
    return sum((found for _, found in days), Usage())


# --- usage -------------------------------------------------------------------------------------------


def test_a_commit_counts_once(bench: LedgerBench) -> None:
    bench.plan(10, 10, job=new_job(tenant=TENANT))
    rows, token = bench.lease()
    for _ in range(3):
        bench.commit(rows, token, errors=2)
    today = bench.ledger.accounts.today()
    assert Usage.of(bench.ledger.accounts.used(TENANT, today)) == Usage(
        rows=8, failed_rows=2, input_tokens=10, output_tokens=20, device_ms=5
    )
    assert bench.ledger.accounts.users(today) == {TENANT}


def test_a_lost_redis_takes_no_usage_that_was_kept(
    book: UsageBook, store: ObjectStore, ledger: Ledger
) -> None:
    use(ledger, 5, 100)
    assert read(book, ledger) == Usage(requests=5, bytes_uploaded=100)
    assert book.save() == 1
    assert book.save() == 0, "nothing has changed"
    ledger.client.redis.flushall()
    rebuild(store, ledger, "bench")
    use(ledger, 2)
    assert read(book, ledger) == Usage(requests=7, bytes_uploaded=100)
    book.save()
    ledger.client.redis.flushall()
    rebuild(store, ledger, "bench")
    assert read(book, ledger) == Usage(requests=7, bytes_uploaded=100)


def test_a_redis_that_knows_less_takes_nothing_back(book: UsageBook, ledger: Ledger) -> None:
    use(ledger, 5)
    book.save()
    ledger.client.redis.delete(*ledger.client.redis.keys(f"usage:*:{TENANT}"))
    use(ledger, 1)
    book.save()
    assert read(book, ledger) == Usage(requests=5)


def test_days_of_long_ago_come_from_the_store(
    book: UsageBook, store: ObjectStore, ledger: Ledger
) -> None:
    today = ledger.accounts.today()
    days = [today - timedelta(days=number) for number in (40, 30, 20, 0)]
    for number, day in enumerate(days):
        store.put_json(TenantNames(TENANT).usage_of(day), {"rows": number + 1})
    found = book.read(TENANT, days[1], days[2])
    assert found == [(days[1], Usage(rows=2)), (days[2], Usage(rows=3))]
    assert book.read("nobody", days[0], today) == []


def test_calls_are_told_of_together(book: UsageBook, ledger: Ledger) -> None:
    counter = RequestCounter(ledger)
    for _ in range(30):
        counter.count(TENANT)
    assert read(book, ledger) == Usage()
    counter.tell()
    counter.tell()
    assert read(book, ledger) == Usage(requests=30)


def test_calls_are_not_lost_while_redis_is_away(book: UsageBook, ledger: Ledger) -> None:
    counter = RequestCounter(ledger)
    counter.count(TENANT)
    epoch = ledger.epoch()
    ledger.give_up()
    counter.tell()
    assert epoch is not None
    ledger.client.redis.set("ledger:epoch", epoch)
    counter.tell()
    assert read(book, ledger) == Usage(requests=1)


def test_a_ledger_that_was_built_again_is_measured_at_once(
    book: UsageBook, store: ObjectStore, ledger: Ledger
) -> None:
    accountant = Accountant(store, ledger)
    store.put(TenantNames(TENANT).file_content("file_a"), b"x" * 500)
    accountant.keep()
    assert ledger.accounts.standing(TENANT).bytes_stored == 500
    ledger.client.redis.flushall()
    rebuild(store, ledger, "bench")
    accountant.keep()
    assert ledger.accounts.standing(TENANT).bytes_stored == 500


# --- audit -------------------------------------------------------------------------------------------


@pytest.fixture
def audit(store: ObjectStore, ledger: Ledger) -> AuditLog:
    make_whole(ledger)
    return AuditLog(store, ledger)


def entry(subject: str, tenant: str = TENANT) -> AuditEntry:
    return AuditEntry(
        tenant=tenant,
        action="job.submit",
        subject=subject,
        key_id="key_a",
        address="10.0.0.1",
        request_id=None,
    )


def subjects(audit: AuditLog, limit: int = 100) -> list[str]:
    """Of all entries, page by page."""
    found: list[str] = []
    after, more = None, True
    while more:
        entries, more = audit.page(TENANT, after=after, limit=limit)
        found += [one.subject for one in entries]
        after = entries[-1].id if entries else None
    return found


def test_entries_are_read_newest_first_wherever_they_lie(audit: AuditLog, ledger: Ledger) -> None:
    for number in range(12):
        audit.add(entry(str(number)))
        audit.add(entry("not yours", "other"))
        if number in (3, 7):
            assert audit.move() > 0
    expected = [str(number) for number in reversed(range(12))]
    for limit in (1, 3, 100):
        assert subjects(audit, limit) == expected
    audit.move()
    assert ledger.client.redis.xlen("audit") == 0
    assert subjects(audit, 5) == expected
    assert audit.move() == 0
    (newest, *_), _ = audit.page(TENANT, after=None, limit=1)
    assert (newest.key_id, newest.address, newest.request_id) == ("key_a", "10.0.0.1", None)


def test_an_entry_that_was_moved_twice_is_one(
    audit: AuditLog, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.add(entry("a"))
    with monkeypatch.context() as patch:

        def dies(*_: object) -> None:
            raise Unavailable("killed before it was taken out of the stream")

        patch.setattr(audit._redis, "xdel", dies)
        with pytest.raises(Unavailable):
            audit.move()
        assert subjects(audit) == ["a"]
        audit.add(entry("b"))
        with pytest.raises(Unavailable):
            audit.move()
    audit.add(entry("c"))
    assert subjects(audit, 1) == ["c", "b", "a"]
    audit.move()
    assert subjects(audit, 1) == ["c", "b", "a"]


def test_a_change_is_noted_while_redis_takes_no_writes(
    audit: AuditLog, ledger: Ledger, store: ObjectStore
) -> None:
    ledger.client.redis.config_set("min-replicas-to-write", 1)
    try:
        audit.add(entry("a"))
        audit.add(entry("b"))
    finally:
        ledger.client.redis.config_set("min-replicas-to-write", 0)
    assert sorted(subjects(audit)) == ["a", "b"]


def test_one_scheduler_keeps_the_accounts(
    audit: AuditLog, store: ObjectStore, ledger: Ledger
) -> None:
    first, second = Accountant(store, ledger), Accountant(store, ledger)
    first.keep()
    audit.add(entry("a"))
    second.keep()
    assert ledger.client.redis.xlen("audit") == 1
    first.keep()
    assert ledger.client.redis.xlen("audit") == 0
    ledger.client.redis.delete("ledger:accounts")
    second.keep()
    ledger.give_up()
    with pytest.raises(Unavailable):
        first.keep()
