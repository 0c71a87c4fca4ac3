"""Device time is what computing took: rows that bring their results along cost none of it."""

from __future__ import annotations

from jobs.ranges import RowRange
from workers.computing import Work


def work() -> Work:
    return Work(RowRange(0, 100), row_bytes=10.0)


def test_without_carried_rows_all_time_counts() -> None:
    one = work()
    one.account(2.0, 1.5, rows=10, carried=0)
    one.account(1.0, 0.5, rows=10, carried=0)
    assert (one.seconds, one.device_seconds) == (3.0, 3.0)


def test_carried_rows_take_their_share_of_reading_and_writing_away() -> None:
    one = work()
    one.account(2.0, 1.0, rows=10, carried=8)
    assert round(one.device_seconds, 6) == 1.2
    one.account(5.0, 0.0, rows=10, carried=10)
    assert round(one.device_seconds, 6) == 1.2
    assert one.seconds == 7.0
