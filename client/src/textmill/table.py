"""Tables as the command and the panels show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from textmill.wording import plain


def bare_table(*columns: str | tuple[str, str]) -> Table:
    """A table without frame; a column may come with its alignment."""
    made = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        border_style="dim",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for column in columns:
        name, justify = column if isinstance(column, tuple) else (column, "left")
        made.add_column(name, justify="right" if justify == "right" else "left")
    return made


def metrics_table(
    name: str, metrics: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]
) -> Table:
    """Metrics, one a line, with those of each baseline in a column beside.

    Args:
        name: of what has the metrics.
        metrics: numbers by name.
        baselines: the same by the names of the baselines.
    """
    table = bare_table("metric", *((plain(column), "right") for column in (name, *baselines)))
    columns = [metrics, *baselines.values()]
    for metric in dict.fromkeys(metric for column in columns for metric in column):
        first, *others = (_number(column.get(metric)) for column in columns)
        table.add_row(plain(metric), Text(first, style="bold"), *others)
    return table


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"
