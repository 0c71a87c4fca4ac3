"""What is shown of one model: its versions, how good one is beside what it has to beat, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from textmill.cli.tables import age_of
from textmill.models import Model, ModelVersion
from textmill.table import bare_table, metrics_table
from textmill.wording import plain, size

#: Facts that are shown of a version, in this order, by the words for them.
_FACTS = {
    "task": "task",
    "method": "method",
    "base": "base",
    "lineage": "lineage",
    "licence": "licence",
    "rows": "rows",
    "data_hash": "data, SHA-256",
    "job": "job",
    "code": "code",
}


def find_version(model: Model, wanted: str | None) -> ModelVersion | None:
    """A version by its name or an alias; the newest where none is named."""
    name = model.newest if wanted is None else model.aliases.get(wanted, wanted)
    return next((one for one in model.versions if one.version == name), None)


def model_table(model: Model, now: datetime) -> Table:
    """The versions of one model."""
    table = bare_table("version", "aliases", "source", ("size", "right"), ("age", "right"))
    table.title = Text(plain(model.name), style="bold")
    table.title_justify = "left"
    for version in model.versions:
        aliases = [plain(a) for a, v in model.aliases.items() if str(v) == version.version]
        table.add_row(
            Text(plain(version.version)),
            Text(", ".join(aliases), style="green"),
            Text(plain(version.source or "-"), overflow="fold"),
            "-" if version.bytes is None else size(version.bytes),
            Text(age_of(version.created_at, now), no_wrap=True),
        )
    return table


def version_tables(version: ModelVersion | None) -> Iterator[RenderableType]:
    """A version's numbers and its facts; nothing where none are known."""
    if version is None:
        return
    metrics = _mapping(version.facts.get("metrics"))
    if metrics:
        yield Text()
        baselines = _mapping(version.facts.get("baselines"))
        others = {name: _mapping(of) for name, of in baselines.items()}
        yield metrics_table(version.version, metrics, others)
    facts = bare_table("fact", "")
    for key, words in _FACTS.items():
        value = version.facts.get(key)
        if key == "licence" and "base" in version.facts and not value:
            value = "not known"
        if value:
            facts.add_row(words, Text(plain(_words(value)), overflow="fold"))
    if facts.row_count:
        yield Text()
        yield facts


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _words(value: object) -> str:
    """A fact on one line; a list as a chain, as lineages are."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, list):
        return " ← ".join(map(str, value))
    return str(value)
