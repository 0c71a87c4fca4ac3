"""The further processes of a training on several devices: started, listened to and never outlived by rank 0.

They end with rank 0, by the same means as rank 0 ends with its worker. When one of them ends before its time, so does
the whole training: the others wait for what will never come. The worker goes on from the newest checkpoint then.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import orjson

#: What a training says last, in one word.
LAST_WORDS = frozenset({"result", "failure", "stopped", "died"})

#: A line that is longer is no last word.
_MOST_LINE_BYTES = 1 << 20


class RankLost(Exception):
    """Another process of the training does not answer any more."""


class RankProcess:
    """One of them.

    Args:
        rank: its number.
        task: what it is told, given the file descriptor that it has for an answer.
        held: a file descriptor that it keeps open, for others to see when it has ended.
        end: called in a thread with the last word of the whole training when it fails or dies.
    """

    def __init__(
        self,
        rank: int,
        task: Callable[[int], bytes],
        *,
        held: int,
        end: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._rank = rank
        self._end = end
        receiving, sending = os.pipe()
        # The kernel ends it with the thread that starts it here: the first one, which lives as long as the process.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nlp.training.process", f"rank={rank}"],
            stdin=subprocess.PIPE,
            pass_fds=[sending, held],
        )
        os.close(sending)
        self._pipe = os.fdopen(receiving, "rb")
        try:
            # Stays open: at its end the process ends too.
            stdin = cast(Any, self._process.stdin)
            stdin.write(task(sending))
            stdin.flush()
        except BrokenPipeError:
            pass  # it is dead already, as is seen below
        threading.Thread(target=self._listen, name=f"rank {rank}", daemon=True).start()

    def _listen(self) -> None:
        last: Mapping[str, Any] = {}
        while line := self._pipe.readline(_MOST_LINE_BYTES):
            said = orjson.loads(line)
            if not LAST_WORDS.isdisjoint(said):
                last = said
        status = self._process.wait()
        if "failure" in last or "died" in last:
            self._end(last)
        elif not last:
            how = f"with exit status {status}" if status >= 0 else f"by {_signal(-status)}"
            self._end({"died": f"the process of rank {self._rank} ended {how}"})


def start_ranks(
    count: int,
    task: Callable[[int, int], bytes],
    *,
    held: int,
    end: Callable[[Mapping[str, Any]], None],
) -> Sequence[RankProcess]:
    """Start ranks 1 and on, of so many in all; ``task`` gets the rank and the file descriptor for its answer."""

    def told(rank: int) -> Callable[[int], bytes]:
        return lambda events: task(rank, events)

    return [RankProcess(rank, told(rank), held=held, end=end) for rank in range(1, count)]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
