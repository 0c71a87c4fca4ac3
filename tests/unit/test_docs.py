"""What the documents say is true: their example runs, and every code stands in the list of errors."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import api
from api.problems import HTTP_PROBLEMS
from jobs.devices import Device
from jobs.errors import JobFailure, TextmillError
from jobs.kinds import Kind, NoModel, RunContext
from jobs.outtake import ErrorTable, ResultTable, Table
from jobs.params import parse_params
from jobs.rows import Row, Success
from nlp.kinds import BUILT_IN

ROOT = Path(__file__).parents[2]
CODE = re.compile(r'(?:JobFailure|RowFailure)\(\s*"([a-z_]+)"')


def test_the_example_kind_runs_as_written() -> None:
    text = (ROOT / "docs/howto/add-a-kind.md").read_text("utf-8")
    found = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    scope: dict[str, object] = {}
    exec(found[1], scope)  # the example itself is what is tested
    kind_class = scope["CountWords"]
    assert isinstance(kind_class, type)
    assert issubclass(kind_class, Kind)
    kind = kind_class()
    params = parse_params(kind, {"lower": True})
    finished: list[int] = []
    context = RunContext(device=Device(type="cpu", name="cpu"), tick=finished.append)
    outcomes = kind.run(NoModel(), None, [Row(0, "To be or not to be")], params, context)
    assert outcomes == [Success({"words": 6, "different": 4})]
    assert finished == [1]


def _tables() -> Iterator[Table]:
    yield ErrorTable()
    for kind in BUILT_IN:
        yield ResultTable(kind.output_columns, carried=True)


@pytest.mark.parametrize("name", sorted({one.name for table in _tables() for one in table.columns}))
def test_every_column_is_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/results.md").read_text("utf-8")


def _raised_codes() -> Iterator[str]:
    for folder in ("jobs", "nlp", "workers", "storage", "api"):
        for path in (ROOT / folder).rglob("*.py"):
            yield from CODE.findall(path.read_text("utf-8"))


@pytest.mark.parametrize("code", sorted(set(_raised_codes())))
def test_every_code_is_documented(code: str) -> None:
    assert f"`{code}`" in (ROOT / "docs/errors.md").read_text("utf-8")


def _errors(above: type[TextmillError]) -> Iterator[type[TextmillError]]:
    for error in above.__subclasses__():
        yield error
        yield from _errors(error)


def _refusals() -> Iterator[tuple[str, int]]:
    """Code and status of whatever a call may be refused with."""
    for module in pkgutil.walk_packages(api.__path__, "api."):
        importlib.import_module(module.name)
    for error in _errors(TextmillError):
        if error.__module__.startswith(("jobs", "storage", "api")) and error is not JobFailure:
            yield error.code, error.status
    yield from ((code, status) for status, (code, _) in HTTP_PROBLEMS.items())


@pytest.mark.parametrize(("code", "status"), sorted(set(_refusals())))
def test_every_refusal_is_documented_with_its_status(code: str, status: int) -> None:
    text = (ROOT / "docs/errors.md").read_text("utf-8")
    calls = text.partition("\n## Calls\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| ([0-9]{3}) \| (.+) \| (.+) \|$", calls, re.MULTILINE)
    assert [
        (int(one), bool(meaning and advice)) for name, one, meaning, advice in rows if name == code
    ] == [(status, True)]
