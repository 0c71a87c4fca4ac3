"""Credentials, ports and the lock of a data folder, without starting the servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.embedded import LEFTOVER_SECONDS, EmbeddedConfig, EmbeddedServices, FolderInUse
from server.packaged import EmbeddedUnavailable, packaged_binary, write_private
from server.ports import LOOPBACK

RunScript = Callable[[str], "subprocess.Popen[str]"]

HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from server.embedded import EmbeddedServices
services = EmbeddedServices.prepare(Path("data"))
if {child}:
    subprocess.Popen(["sleep", "{child}"], pass_fds=[services._lock], start_new_session=True)
print(os.getpid(), flush=True)
time.sleep(600)
"""


def numbers(config: EmbeddedConfig) -> list[int]:
    return [config.redis_port, *vars(config.s3_ports).values()]


def test_credentials_and_ports_are_made_once_and_kept_private(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    with EmbeddedServices.prepare(folder) as first:
        pass
    with EmbeddedServices.prepare(folder) as second:
        assert second.config == first.config
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "embedded.json").stat().st_mode & 0o777 == 0o600
    assert len(set(numbers(first.config))) == 9
    with EmbeddedServices.prepare(tmp_path / "other") as other:
        assert other.config.redis_password != first.config.redis_password
        assert other.config.s3_secret_key != first.config.s3_secret_key


def test_ports_taken_by_others_are_chosen_anew_and_credentials_kept(tmp_path: Path) -> None:
    with EmbeddedServices.prepare(tmp_path) as services:
        before = services.config
    with (
        socket.create_server((LOOPBACK, before.redis_port)),
        socket.create_server((LOOPBACK, before.s3_ports.filer_grpc)),
        EmbeddedServices.prepare(tmp_path) as services,
    ):
        after = services.config
    assert set(numbers(before)).isdisjoint(numbers(after))
    secrets = {"redis_password", "s3_access_key", "s3_secret_key", "s3_signing_key", "s3_bucket"}
    assert before.model_dump(include=secrets) == after.model_dump(include=secrets)
    with EmbeddedServices.prepare(tmp_path) as services:
        assert services.config == after


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda text: text[:40], "the whole file"),
        (lambda text: json.dumps({**json.loads(text), "redis_port": "x"}), "redis_port"),
        (lambda text: json.dumps({**json.loads(text), "redis_password": "a b\nc" * 9}), "password"),
    ],
)
def test_a_damaged_file_is_named_and_left_alone(
    tmp_path: Path, damage: Callable[[str], str], named: str
) -> None:
    path = tmp_path / "embedded.json"
    with EmbeddedServices.prepare(tmp_path):
        pass
    damaged = damage(path.read_text())
    path.write_text(damaged)
    with pytest.raises(EmbeddedUnavailable, match=named) as caught:
        EmbeddedServices.prepare(tmp_path)
    assert str(path) in caught.value.detail
    assert path.read_text() == damaged
    path.unlink()
    with EmbeddedServices.prepare(tmp_path):  # the failed try let go of the lock
        pass


def test_two_on_one_folder_are_refused_by_the_pid_of_the_first(
    tmp_path: Path, run_script: RunScript
) -> None:
    holder = run_script(HOLDER.format(child=0))
    assert holder.stdout is not None
    holder.stdout.readline()
    begun = time.monotonic()
    with pytest.raises(FolderInUse, match=f"in use by process {holder.pid}") as caught:
        EmbeddedServices.prepare(tmp_path / "data")
    assert caught.value.pid == holder.pid
    assert time.monotonic() - begun < LEFTOVER_SECONDS / 2  # nothing to wait for
    holder.kill()
    holder.wait()
    with EmbeddedServices.prepare(tmp_path / "data"):
        pass


def test_a_killed_stacks_children_are_waited_for(tmp_path: Path, run_script: RunScript) -> None:
    holder = run_script(HOLDER.format(child=2))
    assert holder.stdout is not None
    holder.stdout.readline()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with EmbeddedServices.prepare(tmp_path / "data") as services:
        held_by = (tmp_path / "data" / "lock").read_text()
        assert held_by == f"{os.getpid()}\n"
        services.close()
        with pytest.raises(ValueError, match="closed"):
            services.specs()


def test_a_package_that_is_missing_or_lacks_the_program_is_named() -> None:
    with pytest.raises(EmbeddedUnavailable, match="need the package no-such-package"):
        packaged_binary("no-such-package", "weed")
    with pytest.raises(EmbeddedUnavailable, match=r"pytest .* has no program weed"):
        packaged_binary("pytest", "weed")


def test_a_private_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old and readable by all")
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]
    assert path.read_text() == "new"


def test_a_port_that_is_promised_to_somebody_is_given_to_no_server(tmp_path: Path) -> None:
    """It is free while this is asked, and belongs to the API, which listens last."""
    with EmbeddedServices.prepare(tmp_path) as before:
        store, redis = before.config.s3_ports.s3, before.config.redis_port
    with EmbeddedServices.prepare(tmp_path, avoid=[store, redis]) as after:
        config = after.config
    given = {config.redis_port, *vars(config.s3_ports).values()}
    assert len(given) == 9
    assert not given & {store, redis}
    assert config.redis_password == before.config.redis_password
