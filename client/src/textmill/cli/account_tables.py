"""Tables of keys and of usage. Pure: values in, something to print out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from textmill.cli.tables import age_of
from textmill.keys import Key
from textmill.table import bare_table
from textmill.usage import TenantUsage, UsageCounts
from textmill.wording import duration, plain, short_count, size

#: Seconds from an expiry on that is told as the time left.
_SOON = 14 * 86400.0
#: Rows from which on they are told in short.
_MANY = 10_000_000


def keys_table(keys: Sequence[Key], now: datetime) -> Table:
    """Keys, one a line, with what each may do below its name."""
    table = bare_table("key", "name and scopes", "state", ("used", "right"))
    for key in keys:
        name = Text(plain(key.name))
        name.append(f"\n{plain(', '.join(key.scopes))}", style="dim")
        table.add_row(
            Text(plain(key.id), no_wrap=True),
            name,
            _state(key, now),
            Text(age_of(key.last_used_at, now), no_wrap=True),
        )
    for column in table.columns:
        column.no_wrap = not str(column.header).startswith("name")  # the only one that may shrink
    return table


def _state(key: Key, now: datetime) -> Text:
    if key.revoked_at is not None:
        return Text("revoked", style="red", no_wrap=True)
    if key.expires_at is None:
        return Text("good", style="green", no_wrap=True)
    left = (key.expires_at - now).total_seconds()
    if left <= 0:
        return Text("expired", style="red", no_wrap=True)
    until = f"for {duration(left)}" if left < _SOON else f"until {key.expires_at:%Y-%m-%d}"
    return Text(f"good {until}", style="green", no_wrap=True)


def days_table(usage: TenantUsage) -> Table:
    """What was used, a day a line, and in all."""
    heads = ("rows", "errors", "tokens in", "out", "device time", "uploaded", "calls")
    table = bare_table("day", *((head, "right") for head in heads))
    for day in usage.days:
        table.add_row(Text(day.day.isoformat(), no_wrap=True), *_cells(day))
    if len(usage.days) > 1:
        table.add_section()
        table.add_row(Text("in all"), *_cells(usage.total), style="bold")
    return table


def _cells(used: UsageCounts) -> list[Text]:
    words = [
        f"{used.rows:,}" if used.rows < _MANY else short_count(used.rows),
        f"{used.failed_rows:,}" if used.failed_rows else "-",
        short_count(used.input_tokens),
        short_count(used.output_tokens),
        duration(used.device_seconds),
        size(used.bytes_uploaded),
        f"{used.requests:,}",
    ]
    return [Text(word, no_wrap=True) for word in words]


def quotas_table(usage: TenantUsage) -> Table:
    """What is left of each quota."""
    table = bare_table("quota", ("used", "right"), ("of", "right"), ("left", "right"))
    for quota in usage.quotas:
        scarce = quota.limit is not None and quota.left is not None
        nearly_gone = scarce and (quota.left or 0) <= 0.1 * (quota.limit or 0)
        table.add_row(
            plain(quota.name.replace("_", " ")),
            _amount(quota.name, quota.used),
            _amount(quota.name, quota.limit),
            Text(_amount(quota.name, quota.left), style="yellow" if nearly_gone else ""),
        )
    return table


def _amount(name: str, value: float | None) -> str:
    if value is None:
        return "no limit"
    if name.startswith("bytes"):
        return size(round(value))
    if "seconds" in name:
        return duration(value)
    return f"{value:,.0f}"
