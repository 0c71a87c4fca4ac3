"""Trainings of the kind ``sums`` in a workshop."""

from __future__ import annotations

from typing import Any

import orjson

from jobs.spec import JobSpec
from storage.registry import ModelVersion
from tests.integration.workers.workshop import TENANT, Workshop

TEXTS = [f"text {number}" for number in range(7)]
REFERENCE = "scratch:sums"


class Trainings:
    """Submits trainings, and looks at what came of them."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop

    def submit(self, texts: list[str] | None = None, **params: Any) -> str:
        """Take a training in; its id. ``spec`` are further fields of the submission."""
        spec = params.pop("spec", {})
        body = {
            "kind": "sums",
            "model": REFERENCE,
            "input": {"items": [{"text": text} for text in (TEXTS if texts is None else texts)]},
            "params": {"output_name": "added", **params},
            **spec,
        }
        submitted = self.shop.submissions.submit(
            TENANT, JobSpec.model_validate(body), {"ref": REFERENCE}
        )
        return submitted[0].id

    def version(self, job_id: str) -> ModelVersion:
        """The model that a training made."""
        (line,) = self.shop.lines(job_id, "results")
        output = line["output"]
        return self.shop.runtime.registry.version(TENANT, output["model"], output["version"])

    def state(self, job_id: str) -> str:
        """What it learned."""
        version = self.version(job_id)
        name = f"tenants/{TENANT}/models/{version.name}/{version.version}/model.json"
        return str(orjson.loads(self.shop.store.get(name))["state"])

    def checkpoints(self, job_id: str) -> dict[str, bool]:
        """Folders of checkpoints in the store, and whether each says that it is whole."""
        root = self.shop.names(job_id).checkpoints
        names = [found.name.removeprefix(root) for found in self.shop.store.list(root)]
        folders = sorted({name.partition("/")[0] for name in names})
        return {folder: f"{folder}/_COMPLETE" in names for folder in folders}
