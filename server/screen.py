"""What ``up`` shows: one line for each thing that happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from server.supervisor import Event

if TYPE_CHECKING:
    from server.client_config import ClientConfig
    from server.up import Stack

_MARKS = {
    "starting": ("·", "dim"),
    "ready": ("✓", "green"),
    "died": ("✗", "red"),
    "restarting": ("↻", "yellow"),
    "stopping": ("·", "dim"),
    "stopped": ("■", "dim"),
}


class StackScreen:
    """Prints the life of a stack on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, stack: Stack) -> None:
        """Say what is about to start."""
        self._console.print(
            Text.assemble(("Textmill", "bold"), f" starts in {_short(stack.data_dir)}"),
            highlight=False,
        )

    def event(self, event: Event) -> None:
        """One line, except for what needs no word."""
        mark, style = _MARKS[event.kind]
        if event.kind in ("starting", "stopping"):
            return
        seconds = f"{event.seconds:.1f} s"
        words = {
            "ready": f"ready after {seconds}",
            "died": f"died after {seconds}: {event.detail}",
            "restarting": f"starts again in {seconds}",
            "stopped": f"stopped after {seconds}",
        }[event.kind]
        line = Text.assemble((f"  {mark} ", style), (f"{event.name:<11}", "bold"), (words, style))
        self._console.print(line, highlight=False, soft_wrap=True)

    def ready(self, stack: Stack, client: ClientConfig) -> None:
        """Say how to reach the stack."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(overflow="fold")
        grid.add_row("API", client.url)
        grid.add_row("pages", f"{client.url}/schedules  {client.url}/docs")
        grid.add_row("key", client.api_key)
        grid.add_row("logs", _short(stack.log_dir))
        grid.add_row("client", f"reads {_short(stack.data_dir / 'client.toml')} in this folder")
        grid.add_row("try", "textmill doctor")
        self._console.print(Panel(grid, title="ready", title_align="left", border_style="green"))
        self._console.print("[dim]Ctrl-C stops it; data are kept.[/dim]")

    def end(self) -> None:
        """Say that all is over."""
        self._console.print("[dim]everything is stopped[/dim]")


def _short(path: Path) -> str:
    try:
        return "./" + str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
