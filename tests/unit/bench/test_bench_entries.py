"""Findings: what a ratio says, and what the file keeps."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import orjson
import pytest

from bench.entry import Entry, merge
from bench.peaks import can_measure, forget_peaks, peak_bytes
from bench.rows import tiny_rows, write_texts
from bench.stamps import first_stamp, write_stamp


def entry(name: str, ours: float, peer: float, *, higher_is_better: bool = True) -> Entry:
    return Entry(
        id=name,
        metric="rows/s",
        ours=ours,
        peer=peer,
        peer_name="a loop",
        higher_is_better=higher_is_better,
        goal="ratio at least 0.5",
        met=True,
        scale=1.0,
    )


@pytest.mark.parametrize(
    ("ours", "peer", "higher_is_better", "ratio"),
    [(200, 100, True, 2), (100, 200, True, 0.5), (100, 200, False, 2), (200, 100, False, 0.5)],
)
def test_a_ratio_above_one_means_that_ours_is_better(
    ours: float, peer: float, higher_is_better: bool, ratio: float
) -> None:
    found = entry("a", ours, peer, higher_is_better=higher_is_better)
    assert found.ratio == ratio
    assert found.to_json({}, "")["ratio"] == ratio


def test_what_was_not_run_again_stays(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    machine = {"cores": 2}
    first = [entry("b", 1, 2).to_json(machine, "then"), entry("a", 1, 2).to_json(machine, "then")]
    merge(path, first)
    merge(path, [entry("b", 3, 2).to_json(machine, "now")])
    kept = orjson.loads(path.read_bytes())
    assert [(one["id"], one["ours"], one["measured_at"]) for one in kept] == [
        ("a", 1, "then"),
        ("b", 3, "now"),
    ]
    expected = {"id", "metric", "ours", "peer", "peer_name", "ratio", "higher_is_better", "machine"}
    assert expected <= set(kept[0])


def test_rows_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_texts(tmp_path / name, 200)
    data = (tmp_path / "one").read_bytes()
    assert data == (tmp_path / "two").read_bytes()
    rows = [orjson.loads(line) for line in data.splitlines()]
    assert len({row["custom_id"] for row in rows}) == 200
    assert 80 < sum(len(row["text"]) for row in rows) / 200 < 130


def test_tiny_rows_come_in_pieces_and_are_numbered() -> None:
    pieces = list(tiny_rows(25_000))
    assert len(pieces) == 3
    texts = [orjson.loads(line)["text"] for piece in pieces for line in piece.splitlines()]
    assert texts == [str(number) for number in range(25_000)]


def test_the_first_stamp_counts(tmp_path: Path) -> None:
    path = tmp_path / "stamps"
    write_stamp(path)
    first = first_stamp(path)
    write_stamp(path)
    assert first_stamp(path) == first
    assert len(path.read_bytes().split()) == 2


def test_no_stamp_is_no_moment(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="stamps"):
        first_stamp(tmp_path / "stamps", patience=0.01)


@pytest.mark.skipif(not can_measure(), reason="peaks are read from /proc")
def test_a_peak_is_kept_until_it_is_forgotten() -> None:
    own = [os.getpid()]
    forget_peaks(own)
    before = peak_bytes(own)
    # Fresh pages, whatever a heap that other tests have grown would give again.
    with mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for _ in range(64):
            block.write(b"x" * (1 << 20))
    assert peak_bytes(own) - before > 48 << 20
    forget_peaks(own)
    assert peak_bytes(own) - before < 48 << 20


def test_a_process_that_is_gone_has_no_peak() -> None:
    assert peak_bytes([2**22 + 1]) == 0
