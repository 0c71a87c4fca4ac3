"""Tables for lists. Pure: values in, something to print out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from rich.table import Table
from rich.text import Text

from textmill.catalog import Kind, Worker
from textmill.files import File
from textmill.job import JobState
from textmill.models import Model
from textmill.params import describe, properties
from textmill.table import bare_table
from textmill.wording import duration, plain, size, state_style, state_words


def jobs_table(jobs: Sequence[JobState], now: datetime) -> Table:
    """Jobs, one a line. The id is never cut: it is what the next command needs."""
    errors = any(job.counts.failed for job in jobs)
    shown = [("rows", "right"), *([("errors", "right")] if errors else []), ("age", "right")]
    table = bare_table("job", "state", "what", *shown)
    for job in jobs:
        what = Text(plain(job.name or job.kind), no_wrap=True, overflow="ellipsis")
        if job.name:
            what.append(f" · {plain(job.kind)}", style="dim")
        failed = Text(f"{job.counts.failed:,}", style="yellow") if job.counts.failed else Text("-")
        table.add_row(
            Text(job.id, no_wrap=True),
            Text(state_words(job.status), style=state_style(job.status), no_wrap=True),
            what,
            Text(_rows(job), no_wrap=True),
            *([failed] if errors else []),
            Text(age_of(job.created_at, now), no_wrap=True),
        )
    for column in table.columns:
        column.no_wrap = column.header != "what"  # the only one that may shrink
    return table


def _rows(job: JobState) -> str:
    """How many rows an ended job did; how far one is that runs."""
    fraction = job.progress.fraction
    if not job.ended and fraction is not None:
        return f"{int(fraction * 100)} %"
    return f"{job.counts.done:,}" if job.counts.done else "-"


def files_table(files: Iterable[File], now: datetime) -> Table:
    """Files, one a line."""
    table = bare_table("file", "name", ("size", "right"), ("age", "right"))
    for file in files:
        name = Text(plain(file.filename), no_wrap=True, overflow="ellipsis")
        age = Text(age_of(file.created_at, now), no_wrap=True)
        table.add_row(Text(file.id, no_wrap=True), name, size(file.bytes), age)
    return table


def models_table(models: Iterable[Model]) -> Table:
    """Models, one a line."""
    table = bare_table("model", "newest", ("versions", "right"), "aliases")
    for model in models:
        aliases = ", ".join(
            f"{plain(alias)} → {plain(version)}" for alias, version in model.aliases.items()
        )
        table.add_row(
            Text(plain(model.name)),
            plain(model.newest or "-"),
            str(len(model.versions)),
            Text(aliases),
        )
    return table


def kinds_table(kinds: Sequence[Kind]) -> Table:
    """Kinds, one a line."""
    table = bare_table("kind", "does", "parameters")
    for kind in kinds:
        known, _ = properties(kind.params, {})
        names = Text(", ".join(known), style="dim")
        table.add_row(Text(plain(kind.name), style="bold"), Text(plain(kind.summary)), names)
    return table


def params_table(kind: Kind) -> Table:
    """The parameters of one kind."""
    table = bare_table("parameter", "default", "wants")
    table.title = Text.assemble((plain(kind.name), "bold"), f"  {plain(kind.summary)}\n")
    table.title_justify = "left"
    required = kind.params.get("required", ())
    known, _ = properties(kind.params, {})
    for name, schemas in known.items():
        first: Mapping[str, Any] = schemas[0]
        default = "required" if name in required else _default(first)
        wants = Text(plain(describe({"anyOf": schemas}, kind.params)))
        if first.get("description"):
            wants.append(f"\n{plain(first['description'])}", style="dim")
        table.add_row(
            Text(name, style="bold", no_wrap=True),
            Text(default, style="yellow" if default == "required" else "dim"),
            wants,
        )
    return table


def workers_table(workers: Iterable[Worker], now: datetime) -> Table:
    """Workers: what each works on, and below it the models that it holds."""
    table = bare_table("worker", "role", "device", "works on, and models held", ("seen", "right"))
    for worker in workers:
        name = Text(plain(worker.id), overflow="fold")
        if worker.host and worker.host not in worker.id:
            name.append(f"\n{plain(worker.host)}", style="dim")
        busy = Text(plain(worker.job), style="blue") if worker.job else Text("idle", style="dim")
        for model in worker.models:
            busy.append(f"\n{plain(model)}", style="dim")
        if worker.fault:
            busy = Text(plain(worker.fault), style="red", overflow="fold")
        device = Text(plain(worker.device or "-"), overflow="fold")
        device.append(_gauges(worker), style="dim")
        table.add_row(
            name, plain(worker.role), device, busy, Text(age_of(worker.seen_at, now), no_wrap=True)
        )
    return table


def _gauges(worker: Worker) -> str:
    """How its device does, on a line of its own: memory, how busy, how warm; of a CPU worker its memory."""
    gpu = worker.gauges
    used, total = gpu.get("memory_used_bytes"), gpu.get("memory_total_bytes")
    busy, warm = gpu.get("utilization_percent"), gpu.get("temperature_celsius")
    words = []
    if used is not None and total:
        words.append(f"{used / 2**30:.1f} of {total / 2**30:.1f} GiB")
    elif worker.process_bytes is not None:
        words.append(f"{worker.process_bytes / 2**20:.0f} MiB")
    words += [f"{busy} %"] if busy is not None else []
    words += [f"{warm} °C"] if warm is not None else []
    return "\n" + ", ".join(words) if words else ""


def now() -> datetime:
    """The time by this machine's clock, in UTC."""
    return datetime.now(timezone.utc)


def age_of(moment: datetime | None, now: datetime) -> str:
    """How long ago, in one unit."""
    if moment is None:
        return "-"
    words = duration(max(0.0, (now - moment).total_seconds())).split()
    return " ".join(words[:2]) if len(words) > 2 or "." not in words[0] else "now"


def _default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema:
        return "-"
    default = schema["default"]
    if default is None:
        return "-"
    return plain(default if isinstance(default, str) else json.dumps(default))
