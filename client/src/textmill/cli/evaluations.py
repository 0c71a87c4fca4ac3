"""``evaluation``: how good a job's results are, in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from textmill.cli.common import Session, connected
from textmill.table import bare_table, metrics_table
from textmill.wording import plain


@click.command(short_help="Show how good a job's results are.")
@click.argument("job_id", metavar="JOB")
@connected
def evaluation(session: Session, /, *, job_id: str) -> None:
    """Show how good the results are of a job with --param evaluate=true.

    Metrics beside those of answers that cost nothing, then by label and by group. --json gives all of it, with the
    confusion matrix and calibration.
    """
    with session.client() as tm:
        found = tm.jobs.evaluation(job_id)
    session.show(found, *evaluation_tables(found))


def evaluation_tables(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Tables for whatever the evaluation has."""
    if found.get("problem"):
        yield Text(f"not measured: {plain(str(found['problem']))}", style="yellow")
        return
    yield metrics_table("results", found["metrics"], found.get("baselines") or {})
    details = found.get("details") or {}
    if details.get("labels"):
        yield Text()
        yield _table(
            details["labels"],
            {"label": "label", "precision": "", "recall": "", "f1": "", "rows": ""},
        )
    if details.get("confused"):
        yield Text()
        yield _table(details["confused"], {"gold": "gold", "predicted": "given", "rows": ""})
    groups = details.get("groups") or {}
    if groups:
        yield Text()
        by = groups["by"]
        rows = [
            {"group": name or "(none)", "rows": one["rows"], by: one["metrics"].get(by)}
            for name, one in groups["groups"].items()
        ]
        yield _table(rows, {"group": groups["field"], "rows": "", by: ""})


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> RenderableType:
    """Rows by the names of their values.

    Args:
        rows: what to show.
        columns: the values that are shown, with another head for those that hold text.
    """
    table = bare_table(
        *(plain(head) if head else (name, "right") for name, head in columns.items())
    )
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    return table


def _cell(value: object) -> Text:
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    return Text(f"{value:,}" if isinstance(value, int) else plain(str(value)))
