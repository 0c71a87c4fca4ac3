"""Plans: what a planner pinned comes back whole, and workers need not read the sources of a corpus."""

from __future__ import annotations

import orjson
import pytest

from jobs.names import JobNames
from jobs.plan import CutRule, Plan, Skipped, Source
from storage.objects import ObjectMissing, ObjectStore
from storage.parts import DamagedPart
from storage.plans import MOST_INLINE, find_plan, keep_plan

NAMES = JobNames("default", "job_a")


def plan_of(count: int, etag: str = "e") -> Plan:
    sources = [
        Source(bucket="b", key=f"in/{n}", name=f"s3://b/in/{n}", etag=etag, size=n, format="html")
        for n in range(count)
    ]
    rule = CutRule(max_rows=1, max_bytes=2)
    return Plan(sources=sources, cut=rule, model="m", skipped=Skipped(count=1, names=["x"]))


def stored(store: ObjectStore) -> Plan:
    """What a worker reads."""
    return Plan.model_validate_json(store.get(NAMES.plan))


@pytest.mark.parametrize("count", [0, 1, MOST_INLINE, MOST_INLINE + 1, 20_000])
def test_the_first_plan_counts_for_all(store: ObjectStore, count: int) -> None:
    assert find_plan(store, NAMES) is None
    assert keep_plan(store, NAMES, plan_of(count))
    assert not keep_plan(store, NAMES, plan_of(count + 1, "another"))
    found = find_plan(store, NAMES)
    assert found is not None
    assert found.sources == plan_of(count).sources
    assert found.skipped == Skipped(count=1, names=["x"])
    assert stored(store).model == "m"
    assert len(stored(store).sources) == (count if count <= MOST_INLINE else 0)
    # With 20,000 sources, well below what a list of them in plain JSON would be.
    assert sum(info.size for info in store.list(NAMES.prefix)) < 400_000


def test_a_plan_of_before_is_read_still(store: ObjectStore) -> None:
    entry = orjson.loads(plan_of(2).model_dump_json())
    del entry["skipped"], entry["listed"]
    store.put_json(NAMES.plan, entry)
    found = find_plan(store, NAMES)
    assert found is not None
    assert found.sources == plan_of(2).sources
    assert found.skipped is None


def test_a_list_that_is_damaged_or_gone_is_noticed(store: ObjectStore) -> None:
    keep_plan(store, NAMES, plan_of(MOST_INLINE + 1))
    listed = stored(store).listed
    assert listed is not None
    name = NAMES.sources(listed)
    store.put(name, store.get(name)[:-5])
    with pytest.raises(DamagedPart):
        find_plan(store, NAMES)
    store.delete(name)
    with pytest.raises(ObjectMissing):
        find_plan(store, NAMES)
