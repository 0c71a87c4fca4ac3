"""What became of a corpus since the run before, of incremental runs of a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textmill.wording import plural


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Rows of one run beside those of the last completed run before it."""

    new: int = 0  #: known neither by id nor by content
    changed: int = 0  #: known by id, with another content, model or parameters
    retried: int = 0  #: the same as before, where they had no result
    carried: int = 0  #: with the output that they had before
    computed: int = 0  #: good rows that were not carried
    gone: int = 0  #: rows that were there before and are not now
    failed: int = 0  #: without a result in the end
    base: str | None = None  #: id of the job that this is in comparison with

    def told(self) -> str:
        """The same in a line of words, without what is zero."""
        counts = [
            (self.new, "new"),
            (self.changed, "changed"),
            (self.retried, "tried again"),
            (self.carried, "carried over"),
            (self.gone, "gone"),
            (self.failed, "failed"),
        ]
        words = [f"{count:,} {word}" for count, word in counts if count]
        return ", ".join([f"{plural(self.computed, 'row')} computed", *words])


def to_corpus(raw: Mapping[str, Any] | None) -> Corpus | None:
    """The ``corpus`` block of a job or a run; None for those that have none."""
    if not raw:
        return None
    names = ("new", "changed", "retried", "carried", "computed", "gone", "failed")
    return Corpus(**{name: int(raw.get(name) or 0) for name in names}, base=raw.get("base"))
