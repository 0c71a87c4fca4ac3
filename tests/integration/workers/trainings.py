"""Trainings of the kind ``sums`` in a workshop, and what can happen to them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import orjson
import psutil

from jobs.names import JobNames
from jobs.spec import JobSpec
from storage.registry import ModelVersion
from tests.integration.workers.workshop import TENANT, Workshop

TEXTS = [f"text {number}" for number in range(7)]
REFERENCE = "scratch:sums"


class Trainings:
    """Submits trainings, and looks at what came of them."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop

    def submit(
        self, rows: list[Any] | None = None, spec: dict[str, Any] | None = None, **params: Any
    ) -> str:
        """Take a training in; its id. ``spec`` are further fields of the submission."""
        items = [{"text": text} for text in TEXTS] if rows is None else rows
        body = {
            "kind": "sums",
            "model": REFERENCE,
            "input": {"items": items},
            "params": {"output_name": "added", **params},
            **(spec or {}),
        }
        submitted = self.shop.submissions.submit(
            TENANT, JobSpec.model_validate(body), {"ref": REFERENCE}
        )
        return submitted[0].id

    # --- what came of one ------------------------------------------------------------------------

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

    def block(self, job_id: str) -> dict[str, Any]:
        """What users see of it."""
        block = self.shop.record(job_id).training
        assert block is not None
        return block

    def log(self, job_id: str) -> list[dict[str, Any]]:
        """What it told of itself."""
        data = self.shop.store.get(JobNames(TENANT, job_id).training_log)
        return [cast("dict[str, Any]", orjson.loads(line)) for line in data.splitlines()]

    def begun(self, job_id: str) -> list[int]:
        """At which step each of its processes began, of those that the log tells of."""
        names = (str(entry.get("name")) for entry in self.log(job_id))
        found = (re.fullmatch("training from ([0-9]+)", name) for name in names)
        return [int(match[1]) for match in found if match]

    def checkpoints(self, job_id: str) -> dict[int, bool]:
        """Steps of the checkpoints in the store, and whether each says that it is whole."""
        root = JobNames(TENANT, job_id).checkpoints
        names = [found.name.removeprefix(root) for found in self.shop.store.list(root)]
        folders = {name.partition("/")[0] for name in names}
        return {
            int(folder.partition(".")[0]): f"{folder}/_COMPLETE" in names
            for folder in sorted(folders)
        }

    # --- meanwhile -------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Processes that train for this one."""
        return [
            child
            for child in psutil.Process().children(recursive=True)
            if child.status() != psutil.STATUS_ZOMBIE and "nlp.training.process" in child.cmdline()
        ]

    def ranks(self) -> dict[int, psutil.Process]:
        """Those of them that train on one device each of a group, by their number."""
        found = {}
        for process in self.processes():
            number = process.cmdline()[-1].removeprefix("rank=")
            found[int(number) if number.isdecimal() else 0] = process
        return found

    def reach(self, job_id: str, step: int, seconds: float = 60.0) -> None:
        """Return once a training has shown this step."""
        wait_for(lambda: (self.shop.record(job_id).training or {}).get("step") or 0, step, seconds)

    def reach_checkpoint(self, job_id: str, step: int, seconds: float = 60.0) -> None:
        """Return once a checkpoint of this step, or of a later one, is whole."""

        def newest() -> int:
            return max((at for at, whole in self.checkpoints(job_id).items() if whole), default=0)

        wait_for(newest, step, seconds)

    def nobody_left(self) -> None:
        """Check that no process trains any more."""
        assert self.processes() == []


def wait_for(value: Callable[[], int], least: int, seconds: float) -> None:
    """Return once a value is large enough; fail after so many seconds."""
    give_up = time.monotonic() + seconds
    while value() < least:
        assert time.monotonic() < give_up, f"{value()} after {seconds:g} s instead of {least}"
        time.sleep(0.05)


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread; what goes wrong there goes wrong here."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as failure:  # noqa: BLE001  (raised below)
            failures.append(failure)

    thread = threading.Thread(target=run, name="meanwhile")
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]
