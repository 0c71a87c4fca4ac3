"""The chaos test would notice: its checks refuse wrong output, and its injuries are what they say they are."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.chaos import rows
from tests.chaos.aof import AofHistory
from tests.chaos.injuries import schedule
from tests.chaos.output import Counted, Output, OutputWrong, check, compare
from tests.chaos.report import restarts
from tests.chaos.scenario import FULL, SMALL, Scenario

TOTAL = 1200


def lines(place: str) -> list[bytes]:
    """The results or errors of a job that went well."""
    found = []
    for index in range(TOTAL):
        wanted = rows.expected(index)
        row = {"custom_id": wanted.custom_id, "index": index}
        if wanted.code is None and place == "results":
            found.append(json.dumps({**row, "output": {"text": wanted.text}}).encode() + b"\n")
        elif wanted.code is not None and place == "errors":
            found.append(json.dumps({**row, "error": {"code": wanted.code}}).encode() + b"\n")
    return found


def written(folder: Path, results: list[bytes], errors: list[bytes]) -> Output:
    output = Output(folder / "results.jsonl", folder / "errors.jsonl")
    output.results.write_bytes(b"".join(results))
    output.errors.write_bytes(b"".join(errors))
    return output


def test_whole_output_passes(tmp_path: Path) -> None:
    results, errors = lines("results"), lines("errors")
    output = written(tmp_path, results, errors)
    assert check(output, TOTAL, rows.expected) == Counted(len(results), len(errors))
    assert {json.loads(line)["error"]["code"] for line in errors} >= {
        "echo_refused",
        "invalid_text",
    }


@pytest.mark.parametrize("place", ["results", "errors"])
@pytest.mark.parametrize("fault", ["missing", "last missing", "twice", "again", "swapped", "other"])
def test_every_fault_is_found(tmp_path: Path, place: str, fault: str) -> None:
    both = {"results": lines("results"), "errors": lines("errors")}
    found = both[place]
    whole = written(tmp_path, both["results"], both["errors"])
    match fault:
        case "missing":
            del found[5]
        case "last missing":
            found.pop()
        case "twice":
            found.insert(5, found[5])
        case "again":
            found.append(found[0])
        case "swapped":
            found[5], found[6] = found[6], found[5]
        case "other":
            row = json.loads(found[5])
            row |= {"output": {"text": "x"}} if place == "results" else {"error": {"code": "x"}}
            found[5] = json.dumps(row).encode() + b"\n"
    folder = tmp_path / "wrong"
    folder.mkdir()
    wrong = written(folder, both["results"], both["errors"])
    with pytest.raises(OutputWrong):
        check(wrong, TOTAL, rows.expected)
    compare(whole, whole)
    with pytest.raises(OutputWrong, match=rf"{place}\.jsonl line"):
        compare(whole, wrong)


def test_a_row_in_the_wrong_file_is_found(tmp_path: Path) -> None:
    results, errors = lines("results"), lines("errors")
    errors.insert(0, results.pop(0))
    with pytest.raises(OutputWrong, match="expected row 0 in the results"):
        check(written(tmp_path, results, errors), TOTAL, rows.expected)


@pytest.mark.parametrize("scenario", [SMALL, FULL], ids=lambda scenario: scenario.name)
def test_all_injuries_are_over_before_the_job_can_be(scenario: Scenario) -> None:
    for seed in range(50):
        plan = schedule(scenario, seed)
        assert plan == schedule(scenario, seed)
        kinds = [type(one.injury).__name__ for one in plan]
        assert kinds.count("ValkeyKilled") == scenario.valkey_kills > 0
        assert kinds.count("ValkeyCut") == scenario.valkey_cuts > 0
        assert kinds.count("StoreDown" if scenario.store_killed else "StoreFrozen") == 1
        end = 0.0
        for one in plan:
            assert one.at > end
            end = one.at + one.injury.seconds
        assert end < scenario.least_seconds
    assert len({tuple(schedule(scenario, seed)) for seed in range(50)}) == 50


def test_a_full_run_is_as_large_as_promised() -> None:
    assert (FULL.rows, FULL.workers) == (1_000_000, 4)
    assert FULL.least_seconds >= 300
    assert FULL.shard_seconds <= 2
    assert FULL.kill_seconds <= 5
    assert FULL.valkey_kills + FULL.valkey_cuts == 3
    assert FULL.store_outage == 60
    assert FULL.store_killed


def test_just_the_last_second_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof.1.incr.aof").write_bytes(b"old" * 1000)
    newest = tmp_path / "appendonly.aof.10.incr.aof"
    newest.write_bytes(b"kept")
    with AofHistory(tmp_path) as history:
        time.sleep(1.3)
        with newest.open("ab") as file:
            file.write(b"lost")
        time.sleep(0.2)
        died_at = time.monotonic()
    assert history.cut(died_at) == 4
    assert newest.read_bytes() == b"kept"


def test_a_file_that_was_begun_in_the_last_second_is_lost_whole(tmp_path: Path) -> None:
    newest = tmp_path / "appendonly.aof.1.incr.aof"
    with AofHistory(tmp_path) as history:
        time.sleep(1.3)
        newest.write_bytes(b"lost")
        time.sleep(0.2)
    assert history.cut(time.monotonic()) == 4
    assert newest.read_bytes() == b""


def test_nothing_is_cut_that_was_not_watched(tmp_path: Path) -> None:
    newest = tmp_path / "appendonly.aof.1.incr.aof"
    newest.write_bytes(b"kept")
    with AofHistory(tmp_path) as history:
        time.sleep(0.2)
        assert 0 < history.since() < 1
    with pytest.raises(ValueError, match="not watched"):
        history.cut(time.monotonic())
    assert newest.read_bytes() == b"kept"


def test_deaths_are_read_from_what_up_prints() -> None:
    log = (
        "  ✓ valkey     ready after 0.3 s\n"
        "  ✗ valkey     died after 9.9 s: killed by SIGKILL\n"
        "  ✗ worker-0   died after 3.1 s: killed by SIGKILL\n"
        "  ↻ worker-0   starts again in 0.5 s\n"
        "  ✗ worker-11  died after 3.1 s: exit status 1\n"
    )
    assert restarts(log) == {"valkey": 1, "worker": 2}
