"""Nights of an incremental schedule, one job each, beside full runs over the same corpus."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from jobs.names import JobNames
from jobs.origin import Origin
from jobs.schedules import ScheduleSpec
from jobs.spec import JobSpec
from storage.corpus import CorpusIndexes
from storage.schedules import ScheduleBook
from storage.submission import read_manifest
from tests.integration.workers.workshop import TENANT, Workshop

Row = Mapping[str, Any]


def row(name: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    """One row of a corpus; its text says its name unless another is given."""
    return {"custom_id": name, "text": name if text is None else text, **more}


class Nights:
    """An incremental schedule of a kind that a workshop has."""

    def __init__(self, shop: Workshop, kind: str = "echo") -> None:
        self.shop = shop
        self._kind = kind
        self._moment = 1_700_000_000_000
        self._folder = f"corpus-{secrets.token_hex(4)}/"
        spec = ScheduleSpec.model_validate(
            {"every": 86_400, "job": self._spec("uri", {}), "incremental": True}
        )
        self.book = ScheduleBook(shop.store, shop.ledger)
        self.schedule = self.book.create(TENANT, spec)[0].id
        self.indexes = CorpusIndexes(shop.store, TENANT, self.schedule)

    def _spec(self, source: str, params: Mapping[str, Any], **given: Any) -> dict[str, Any]:
        uri = f"s3://{self.shop.store.bucket}/{self._folder}"
        sources: dict[str, dict[str, Any]] = {"items": {"items": [row("a")]}, "uri": {"uri": uri}}
        return {"kind": self._kind, "input": {**sources[source], **given}, "params": dict(params)}

    # --- the corpus ----------------------------------------------------------------------------------

    def lay(self, objects: Mapping[str, Sequence[Row]]) -> None:
        """Let the corpus be these objects, and no others."""
        for found in list(self.shop.store.list(self._folder)):
            self.shop.store.delete(found.name)
        for name, rows in objects.items():
            data = b"".join(orjson.dumps(one) + b"\n" for one in rows)
            self.shop.store.put(f"{self._folder}{name}.jsonl", data)

    # --- runs ----------------------------------------------------------------------------------------

    def submit(
        self,
        params: Mapping[str, Any] | None = None,
        *,
        full: bool = False,
        incremental: bool = True,
        carry: Sequence[str] = (),
        model: str | None = None,
    ) -> str:
        """Submit the next night's job; its id."""
        self._moment += 86_400_000
        spec = JobSpec.model_validate(self._spec("uri", params or {}, carry=list(carry)))
        run = str(self._moment)
        origin = Origin(
            schedule=self.schedule,
            run=run,
            date="2026-11-02",
            full=full,
            incremental=incremental,
        )
        key = f"schedule {self.schedule} {run}"
        ref = None if model is None else {"ref": model}
        return self.shop.submissions.submit(TENANT, spec, ref, key, origin=origin)[0].id

    def run(self, params: Mapping[str, Any] | None = None, **how: Any) -> str:
        """A night from its start to its end."""
        job = self.submit(params, **how)
        self.shop.run(job)
        return job

    def plain(self, params: Mapping[str, Any] | None = None, **how: Any) -> str:
        """A full run over the same corpus that knows of no other."""
        return self.run(params, incremental=False, **how)

    # --- what came of them ---------------------------------------------------------------------------

    def bytes_of(self, job: str, section: str = "results") -> bytes:
        manifest = read_manifest(self.shop.store, self.shop.names(job))
        return self.shop.store.get(manifest["outputs"][section]["object"])

    def counts(self, job: str) -> dict[str, int]:
        """What became of the corpus, without what is zero."""
        corpus = self.shop.record(job).corpus
        assert corpus is not None
        return {name: count for name, count in corpus.items() if name != "base" and count}

    def base(self, job: str) -> str | None:
        corpus = self.shop.record(job).corpus
        assert corpus is not None
        return None if corpus["base"] is None else str(corpus["base"])

    def same(self, job: str, other: str) -> bool:
        """Whether two jobs gave the same, byte for byte."""
        return all(
            self.bytes_of(job, section) == self.bytes_of(other, section)
            for section in ("results", "errors")
        )

    def shards(self, job: str) -> dict[str, bytes]:
        folder = JobNames(TENANT, job).shards
        found = self.shop.store.list(folder)
        return {one.name.removeprefix(folder): self.shop.store.get(one.name) for one in found}
