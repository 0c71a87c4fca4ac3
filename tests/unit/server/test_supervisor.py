"""The supervisor with real children: starting, restarting and stopping."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from server import child as child_module
from server import supervisor as supervisor_module
from server.child import ChildSpec
from server.supervisor import Event, StartFailed, Supervisor, restart_delay

WaitUntil = Callable[[Callable[[], bool]], None]
IsGone = Callable[[int], bool]

#: Says that it is up by making a file, and leaves a process of its own running.
FAMILY = "sleep 600 & echo $! > {name}.pid; touch {name}.up; wait"
#: Becomes ready at its first start only.
ONCE = "test -e {name}.seen && exec sleep 600; touch {name}.seen {name}.up; exec sleep 600"
#: Ignores SIGTERM.
STUBBORN = "trap '' TERM; touch {name}.up; while :; do sleep 0.2; done"


class Recorder:
    """Keeps events, to be given as ``announce``."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def kinds(self, name: str) -> list[str]:
        return [event.kind for event in self.events if event.name == name]

    def names(self, kind: str) -> list[str]:
        return [event.name for event in self.events if event.kind == kind]


def shell(
    folder: Path, name: str, script: str, *, ready_timeout: float = 20.0, stop_timeout: float = 10.0
) -> ChildSpec:
    """A shell script that is ready once it has made ``<name>.up``."""
    return ChildSpec(
        name=name,
        command=["sh", "-c", script.format(name=name)],
        cwd=folder,
        ready=(folder / f"{name}.up").exists,
        ready_timeout=ready_timeout,
        stop_timeout=stop_timeout,
    )


def poll_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come to hold"
        supervisor.poll()
        time.sleep(0.02)


def running(supervisor: Supervisor, name: str) -> int:
    pid = supervisor.pid(name)
    assert pid is not None
    return pid


def test_children_start_in_order_each_once_the_one_before_is_ready(tmp_path: Path) -> None:
    seen = Recorder()
    specs = [shell(tmp_path, name, "sleep 0.3; " + FAMILY) for name in ("a", "b", "c")]
    with Supervisor(specs, tmp_path / "logs", seen):
        assert [(event.name, event.kind) for event in seen.events] == [
            (name, kind) for name in "abc" for kind in ("starting", "ready")
        ]
        assert all(event.seconds >= 0.3 for event in seen.events if event.kind == "ready")


def test_a_child_that_ails_is_started_anew(tmp_path: Path) -> None:
    seen = Recorder()
    ill = tmp_path / "ill"

    def ailing() -> str | None:
        if not ill.exists():
            return None
        ill.unlink()
        return "it looked pale"

    spec = replace(shell(tmp_path, "a", FAMILY), ailing=ailing)
    with Supervisor([spec], tmp_path / "logs", seen) as supervisor:
        first = running(supervisor, "a")
        ill.touch()
        poll_until(supervisor, lambda: supervisor.pid("a") not in (None, first))
        assert [event.detail for event in seen.events if event.kind == "died"] == ["it looked pale"]
        poll_until(supervisor, lambda: supervisor.is_ready("a"))
        assert supervisor.restarts("a") == 1


def test_children_stop_in_reverse_order_and_leave_nothing(
    tmp_path: Path, wait_until: WaitUntil, is_gone: IsGone
) -> None:
    seen = Recorder()
    specs = [shell(tmp_path, name, FAMILY) for name in ("a", "b")]
    with Supervisor(specs, tmp_path, seen) as supervisor:
        pids = [running(supervisor, name) for name in ("a", "b")]
        pids += [int((tmp_path / f"{name}.pid").read_text()) for name in ("a", "b")]
    assert seen.names("stopping") == seen.names("stopped") == ["b", "a"]
    assert [event.detail for event in seen.events[-1:]] == ["killed by SIGTERM"]
    wait_until(lambda: all(is_gone(pid) for pid in pids))
    supervisor.stop()  # harmless


def test_a_child_that_ignores_its_stop_signal_is_killed(tmp_path: Path) -> None:
    seen = Recorder()
    spec = shell(tmp_path, "a", STUBBORN, stop_timeout=0.5)
    with Supervisor([spec], tmp_path, seen):
        pass
    stopped = seen.events[-1]
    assert stopped.detail.startswith("killed after 0.")
    assert 0.5 <= stopped.seconds < 5


def test_a_child_killed_is_started_again_without_what_it_left_behind(
    tmp_path: Path, wait_until: WaitUntil, is_gone: IsGone
) -> None:
    seen = Recorder()
    with Supervisor([shell(tmp_path, "a", FAMILY)], tmp_path, seen) as supervisor:
        first, left = running(supervisor, "a"), int((tmp_path / "a.pid").read_text())
        os.kill(first, signal.SIGKILL)
        poll_until(supervisor, lambda: not supervisor.is_ready("a"))
        assert supervisor.pid("a") is None
        wait_until(lambda: is_gone(left))
        poll_until(supervisor, lambda: supervisor.is_ready("a"))
        assert supervisor.pid("a") != first
        assert supervisor.restarts("a") == 1
    kinds = ["starting", "ready", "died", "restarting", "starting", "ready", "stopping", "stopped"]
    assert seen.kinds("a") == kinds
    assert seen.events[2].detail == "killed by SIGKILL"


def test_delays_double_up_to_half_a_minute() -> None:
    delays = [restart_delay(deaths) for deaths in range(1, 10)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert restart_delay(100_000) == 30


@pytest.mark.parametrize(("healthy_seconds", "delays"), [(60.0, [0.5, 1.0]), (0.0, [0.5, 0.5])])
def test_deaths_in_a_row_lengthen_the_delay_and_health_forgets_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    healthy_seconds: float,
    delays: list[float],
) -> None:
    monkeypatch.setattr(supervisor_module, "HEALTHY_SECONDS", healthy_seconds)
    seen = Recorder()
    with Supervisor([shell(tmp_path, "a", FAMILY)], tmp_path, seen) as supervisor:
        for _ in delays:
            os.kill(running(supervisor, "a"), signal.SIGKILL)
            poll_until(supervisor, lambda: not supervisor.is_ready("a"))
            poll_until(supervisor, lambda: supervisor.is_ready("a"))
            supervisor.poll()
    assert [event.seconds for event in seen.events if event.kind == "restarting"] == delays


def test_one_that_is_not_ready_does_not_keep_another_from_its_restart(tmp_path: Path) -> None:
    specs = [shell(tmp_path, "slow", ONCE), shell(tmp_path, "other", FAMILY)]
    with Supervisor(specs, tmp_path, Recorder()) as supervisor:
        (tmp_path / "slow.up").unlink()
        os.kill(running(supervisor, "slow"), signal.SIGKILL)
        poll_until(supervisor, lambda: supervisor.restarts("slow") == 1)
        os.kill(running(supervisor, "other"), signal.SIGKILL)
        poll_until(supervisor, lambda: supervisor.restarts("other") == 1)
        poll_until(supervisor, lambda: supervisor.is_ready("other"))
        assert not supervisor.is_ready("slow")


def test_a_restarted_child_that_does_not_become_ready_is_restarted_again(tmp_path: Path) -> None:
    seen = Recorder()
    with Supervisor([shell(tmp_path, "a", ONCE, ready_timeout=2.0)], tmp_path, seen) as supervisor:
        (tmp_path / "a.up").unlink()
        os.kill(running(supervisor, "a"), signal.SIGKILL)
        poll_until(supervisor, lambda: supervisor.restarts("a") == 2)
    assert [event.detail for event in seen.events if event.kind == "died"] == [
        "killed by SIGKILL",
        "not ready after 2 s",
    ]


def test_a_child_that_dies_while_starting_fails_the_start_and_shows_its_log(
    tmp_path: Path, wait_until: WaitUntil, is_gone: IsGone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_DELAY", 0.05)
    seen = Recorder()
    (tmp_path / "bad.log").write_text("a line of an earlier run\n")
    specs = [
        shell(tmp_path, "good", FAMILY),
        shell(tmp_path, "bad", "echo out; echo port taken >&2; exit 3"),
        shell(tmp_path, "never", FAMILY),
    ]
    supervisor = Supervisor(specs, tmp_path, seen)
    with pytest.raises(StartFailed) as caught:
        supervisor.start()
    assert caught.value.name == "bad"
    assert caught.value.reason == "it died 4 times, at last with exit status 3"
    assert caught.value.log_tail.splitlines() == ["out", "port taken"] * 4
    assert "port taken" in caught.value.detail
    assert seen.names("stopped") == ["good"]
    assert seen.kinds("never") == []
    left = int((tmp_path / "good.pid").read_text())
    wait_until(lambda: is_gone(left))


def test_a_child_not_ready_in_time_fails_the_start(tmp_path: Path) -> None:
    spec = shell(tmp_path, "a", "echo waiting for nothing; exec sleep 600", ready_timeout=0.5)
    with pytest.raises(StartFailed, match=r"not ready after 0\.5 s(.|\n)*waiting for nothing"):
        Supervisor([spec], tmp_path, Recorder()).start()


def test_a_missing_program_or_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_DELAY", 0.05)
    missing = ChildSpec(name="a", command=["no-such-program"], ready=lambda: False)
    with pytest.raises(StartFailed, match="cannot run no-such-program"):
        Supervisor([missing], tmp_path, Recorder()).start()
    nowhere = ChildSpec(name="b", command=["true"], cwd=tmp_path / "nowhere", ready=lambda: False)
    with pytest.raises(StartFailed, match="nowhere"):
        Supervisor([nowhere], tmp_path, Recorder()).start()


def test_output_is_appended_to_a_private_log_that_is_set_aside_when_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LOG_BYTES", 100)
    log, older = tmp_path / "logs" / "a.log", tmp_path / "logs" / "a.log.1"
    spec = shell(tmp_path, "a", "echo one; echo two >&2; " + FAMILY)
    for expected in ("one\ntwo\n", "one\ntwo\none\ntwo\n"):
        (tmp_path / "a.up").unlink(missing_ok=True)
        with Supervisor([spec], log.parent, Recorder()):
            assert log.read_text() == expected
    assert log.stat().st_mode & 0o777 == 0o600
    assert not older.exists()
    log.write_text("x" * 101)
    (tmp_path / "a.up").unlink()
    with Supervisor([spec], log.parent, Recorder()):
        assert log.read_text() == "one\ntwo\n"
    assert older.read_text() == "x" * 101


def test_environment_and_session_are_as_the_spec_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTER", "outer")
    script = 'echo "$OUTER,$INNER"; touch {name}.up; exec sleep 600'
    inherits, own = (shell(tmp_path, name, script) for name in ("inherits", "own"))
    specs = [
        ChildSpec(**{**vars(inherits), "env": {"INNER": "inner"}}),
        ChildSpec(**{**vars(own), "env": {"PATH": os.defpath}, "inherit_env": False}),
    ]
    with Supervisor(specs, tmp_path, Recorder()) as supervisor:
        assert (tmp_path / "inherits.log").read_text() == "outer,inner\n"
        assert (tmp_path / "own.log").read_text() == ",\n"
        pid = running(supervisor, "own")
        assert os.getsid(pid) == pid


def test_when_announcing_fails_everything_is_killed(
    tmp_path: Path, wait_until: WaitUntil, is_gone: IsGone
) -> None:
    def announce(event: Event) -> None:
        if event.kind in ("ready", "stopping"):
            raise BrokenPipeError("nobody reads any more")

    supervisor = Supervisor([shell(tmp_path, "a", FAMILY)], tmp_path, announce)
    with pytest.raises(BrokenPipeError):
        supervisor.start()
    assert supervisor.pid("a") is None
    left = int((tmp_path / "a.pid").read_text())
    wait_until(lambda: is_gone(left))


def test_two_children_of_one_name_are_refused(tmp_path: Path) -> None:
    spec = shell(tmp_path, "a", FAMILY)
    with pytest.raises(ValueError, match="expected different names"):
        Supervisor([spec, spec], tmp_path, Recorder())
