"""A preview counts what a run would process, says what that would cost, and leaves no trace."""

from __future__ import annotations

import pytest

from storage.acceptance import Acceptance
from storage.previews import Previews
from tests.integration.workers.nights import Nights, row
from tests.integration.workers.workshop import TENANT, Workshop

ROWS = [row(f"r{number}", "word " * (number % 7 + 1)) for number in range(300)]


class OwnBucket(Acceptance):
    """Takes what no caller may ask for: a corpus in the test's own bucket."""

    def _check_uri(self, uri: str, tenant: str, field: str) -> None:
        assert field == "input.uri"


@pytest.fixture
def nights(shop: Workshop) -> Nights:
    made = Nights(shop)
    made.lay({"a": ROWS[:150], "b": ROWS[150:]})
    return made


def preview(nights: Nights, *, full: bool = False) -> str:
    """Submit a preview and go through with it; the job's id."""
    shop = nights.shop
    acceptance = OwnBucket(shop.runtime.settings, shop.runtime.kinds, shop.store, shop.ledger)
    previews = Previews(nights.book, shop.ledger, shop.submissions, acceptance)
    begun = previews.begin(TENANT, nights.schedule, full=full)
    shop.run(begun.id)
    return begun.id


def test_what_changed_is_counted_and_nothing_else_happens(nights: Nights) -> None:
    shop = nights.shop

    # Of a first night nothing is known but its rows.
    first = shop.record(preview(nights)).estimate
    assert first is not None
    assert (first["rows"], first["computed"], first["bad"]) == (300, 300, 0)
    assert first["text_bytes"] == sum(len(one["text"].encode()) for one in ROWS)
    assert (first["basis"], first["device_seconds"]) == (None, None)
    assert list(nights.indexes.newest()) == []

    night = shop.record(nights.run())
    changed = [*ROWS[:10], row("r10", "other"), *ROWS[11:290], row("new")]
    nights.lay({"all": changed})
    job = preview(nights)
    record = shop.record(job)
    assert (record.status, record.total, record.output) == ("completed", 0, None)
    assert record.estimate is not None
    assert (record.estimate["rows"], record.estimate["computed"]) == (291, 2)
    assert record.estimate["basis"] == "last_runs"
    share = len("other" + "new") / first["text_bytes"]
    assert record.estimate["input_tokens"] == round(night.input_tokens * share)
    assert nights.counts(job) == {"new": 1, "changed": 1, "carried": 289, "computed": 2, "gone": 10}
    assert record.device_ms == 0
    assert len(list(nights.indexes.newest())) == 1
    # The night itself says the same.
    assert nights.counts(nights.run()) == nights.counts(job)

    everything = shop.record(preview(nights, full=True)).estimate
    assert everything is not None
    assert everything["computed"] == 291


def test_bad_rows_are_told_beforehand(nights: Nights) -> None:
    nights.lay({"a": [*ROWS[:5], row("bad", "")]})
    estimate = nights.shop.record(preview(nights)).estimate
    assert estimate is not None
    assert (estimate["rows"], estimate["computed"], estimate["bad"]) == (6, 5, 1)


def test_the_template_is_left_as_it_is(nights: Nights) -> None:
    job = nights.shop.submissions.load(TENANT, preview(nights))
    assert job.spec.name == f"preview of {nights.schedule}"
    known = nights.book.get(TENANT, nights.schedule)
    assert known.spec.job.name is None
