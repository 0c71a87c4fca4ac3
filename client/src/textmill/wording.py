"""Numbers, durations and states as people read them. Pure."""

from __future__ import annotations

#: Colour of each state.
STATE_STYLES = {
    "validating": "cyan",
    "in_progress": "blue",
    "finalizing": "blue",
    "completed": "green",
    "failed": "red",
    "expired": "red",
    "cancelling": "yellow",
    "cancelled": "yellow",
}


def state_style(status: str) -> str:
    """The colour of a state; plain for one that this client does not know."""
    return STATE_STYLES.get(status, "white")


def state_words(status: str) -> str:
    """A state in words."""
    return status.replace("_", " ")


def duration(seconds: float) -> str:
    """A span of time in at most two units: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``5 h 2 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for unit, name, smaller, small_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def size(count: int) -> str:
    """Bytes in decimal units: ``812 B``, ``1.5 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def short_count(count: int) -> str:
    """A large number in few characters: ``950``, ``12.3 k``, ``4.1 M``."""
    value = float(count)
    for unit in ("", " k", " M"):
        if value < 999.5:
            return f"{count}" if not unit else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f} G"


def speed(rows_per_second: float) -> str:
    """Rows per second; per minute or hour where that is easier to read."""
    if rows_per_second >= 99.5:
        return f"{rows_per_second:,.0f} rows/s"
    if rows_per_second >= 0.95:
        return f"{rows_per_second:.1f} rows/s"
    if rows_per_second * 60 >= 0.95:
        return f"{rows_per_second * 60:.1f} rows/min"
    return f"{rows_per_second * 3600:.1f} rows/h"


def plain(text: object) -> str:
    """Text from elsewhere, safe for a terminal: on one line, without control sequences."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def plural(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
