"""Calls made from the OpenAPI document by schemathesis: single ones, right and wrong, and sequences along its links."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.document import fuzzed
from tests.integration.stack.running import command

#: What the API may refuse though its schema says nothing of it: exactly one source of input, models that are not there.
_NOT_CHECKED = "positive_data_acceptance"


@dataclass(frozen=True, kw_only=True)
class Calls:
    """What came of it."""

    cases: int
    operations: int
    failures: int
    text: str  #: as schemathesis reports it, with how to repeat each failure


def make_calls(
    document: Mapping[str, Any],
    url: str,
    key: str,
    folder: Path,
    *,
    examples: int,
    seed: int,
    seconds: int | None = None,
) -> Calls:
    """Call every operation with made-up data.

    Args:
        document: what the API says of itself.
        folder: where reports are left.
        examples: most cases of each operation, beside those that cover its schema systematically.
        seed: the same gives the same cases.
        seconds: end after so long.
    """
    source, report = folder / "openapi.json", folder / "report.json"
    source.write_text(json.dumps(fuzzed(document)), "utf-8")
    arguments = ["--url", url, "--header", f"Authorization: Bearer {key}"]
    arguments += ["--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"]
    arguments += ["--checks", "all", "--exclude-checks", _NOT_CHECKED]
    arguments += ["--suppress-health-check", "all", "--no-color"]
    arguments += ["--report", "json", "--report-json-path", str(report)]
    if seconds is not None:
        arguments += ["--max-time", str(seconds)]
    done = subprocess.run(
        [command("schemathesis"), "run", str(source), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    text = done.stdout + done.stderr
    if not report.exists():
        raise AssertionError(f"schemathesis made no report: {text}")
    told = json.loads(report.read_text("utf-8"))
    return Calls(
        cases=told["test_cases"]["generated"],
        operations=told["operations"]["tested"],
        # Whatever it stumbled over is a failure too.
        failures=len(told["failures"]) + len(told["errors"]) + (done.returncode not in (0, 1)),
        text=text,
    )
