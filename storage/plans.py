"""``plan.json`` in the store.

Workers read it too, and need none of the sources: where these are many, they lie in an object beside it.
"""

from __future__ import annotations

import hashlib

from pydantic import TypeAdapter

from jobs.names import JobNames
from jobs.plan import Plan, Source
from storage.objects import ObjectStore
from storage.parts import encode_shard, shard_text
from storage.submission import object_or_none

#: Most sources that stand in the plan itself.
MOST_INLINE = 1_000

_SOURCES = TypeAdapter(list[Source])


def keep_plan(store: ObjectStore, names: JobNames, plan: Plan) -> bool:
    """Write a job's plan unless it has one; False when it has."""
    if len(plan.sources) > MOST_INLINE:
        data = encode_shard([_SOURCES.dump_json(plan.sources)])
        digest = hashlib.sha256(data).hexdigest()
        store.put(names.sources(digest), data)
        plan = plan.model_copy(update={"sources": [], "listed": digest})
    return store.put_once(names.plan, plan.model_dump_json().encode())


def find_plan(store: ObjectStore, names: JobNames) -> Plan | None:
    """A job's plan with all its sources; None while there is none.

    Raises:
        ObjectMissing: the list of its sources is gone.
        DamagedPart: it is not what was written.
    """
    data = object_or_none(store, names.plan)
    if data is None:
        return None
    plan = Plan.model_validate_json(data)
    if plan.listed is None:
        return plan
    listed = shard_text(store.get(names.sources(plan.listed)))
    return plan.model_copy(update={"sources": _SOURCES.validate_json(listed)})
