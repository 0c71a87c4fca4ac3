"""When a schedule is to be looked at again, and whether a run of it should have completed by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from jobs.states import Status
from storage.runs import Run, RunTable
from storage.schedules import Revision

#: Between two looks at a run that has not ended, in ms: a quarter of its age, within these.
_LOOK_MS, _MOST_LOOK_MS = 2_000, 60_000


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look found."""

    again_at: int | None  #: when to look again, in ms; None: not before the schedule is changed
    late_since: int | None  #: since when (ms) a run should have completed; None: none is late


def decided_until(revision: Revision, runs: RunTable) -> int:
    """Fire time (ms) of the last firing that was decided, or since when firings count."""
    newest = next((mark for mark in runs.marks() if not mark.manual), None)
    return revision.since if newest is None else max(revision.since, newest.fire_at)


def next_look(
    revision: Revision, runs: RunTable, open_runs: Sequence[Run], now: int, *, stuck: bool
) -> Look:
    """What a look found, once all was done that was to be done.

    Args:
        revision: the newest.
        runs: its runs.
        open_runs: those that have not ended.
        now: ms.
        stuck: whether firings that are due wait for runs to end.
    """
    moments = [
        now + min(max((now - run.decided_at) // 4, _LOOK_MS), _MOST_LOOK_MS) for run in open_runs
    ]
    late_since = None
    if not revision.paused:
        late_since, deadline = _lateness(revision, runs, now)
        moments += [] if deadline is None else [deadline]
        if not stuck:
            moments += [due for _, due in revision.firings(decided_until(revision, runs), 1)]
    return Look(again_at=min(moments, default=None), late_since=late_since)


def _lateness(revision: Revision, runs: RunTable, now: int) -> tuple[int | None, int | None]:
    """Since when a run should have completed, and when to look for that again."""
    planned = (
        mark for mark in runs.marks() if not mark.manual and mark.fire_at >= revision.counted_from
    )
    within = revision.spec.complete_within_seconds
    deadline = None
    if within is None:
        newest = list(islice(planned, 2))
        if len(newest) < 2:
            return None, None
        since, expected = newest[0].fire_at, newest[1].fire_at
    else:
        for mark in planned:
            since, expected = mark.fire_at + within * 1000, mark.fire_at
            if since <= now:
                break
            deadline = since
        else:
            return None, deadline
    for end in runs.ends():
        if end.fire_at < expected:
            break
        if end.status == Status.COMPLETED:
            return None, deadline
    return since, deadline
