"""Shows a chaos run: a progress bar on a terminal, one line for each thing that happens elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


class ChaosScreen:
    """A bar for what is being done, and above it what has happened."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def phase(self, name: str) -> None:
        """Something else begins."""
        self._bar.reset(self._task, description=name)
        self.say(name)

    def progress(self, share: float) -> None:
        """So much of it is done, from 0 to 1."""
        self._bar.update(self._task, completed=share)

    def say(self, line: str) -> None:
        """Something happened. May be called from another thread."""
        passed = time.monotonic() - self._begun
        self._console.print(f"{passed:7.1f} s  {line}", highlight=False, markup=False)
