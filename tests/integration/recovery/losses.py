"""The three ways in which Redis is lost here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.integration.recovery.disks import data_folder
from tests.integration.stack.running import RunningStack, wait_for


def flush(stack: RunningStack) -> None:
    """Everything is deleted, under everybody's hands."""
    with stack.redis() as redis:
        redis.flushall()


def come_back_empty(stack: RunningStack) -> None:
    """``kill -9``, and a fresh instance that knows nothing."""
    with stack.held():
        _kill(stack)
        shutil.rmtree(_append_only(stack))


def forget_a_second(stack: RunningStack) -> None:
    """``kill -9``, and the last second of the append-only file is gone, as after a power cut."""
    (file,) = _append_only(stack).glob("*.incr.aof")
    size = file.stat().st_size
    time.sleep(1)
    with stack.held():
        _kill(stack)
        assert file.stat().st_size > size, "nothing was written"
        with file.open("r+b") as opened:
            opened.truncate(size)


LOSSES: Mapping[str, Callable[[RunningStack], None]] = {
    "flushed": flush,
    "empty": come_back_empty,
    "cut": forget_a_second,
}


def _append_only(stack: RunningStack) -> Path:
    return data_folder(stack, "valkey") / "appendonlydir"


def _kill(stack: RunningStack) -> None:
    victim = stack.process("valkey")
    assert victim is not None
    victim.kill()
    # Its parent is held, so that it stays a zombie.
    wait_for(lambda: victim.status() == psutil.STATUS_ZOMBIE, 10)
