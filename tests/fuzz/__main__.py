"""``python -m tests.fuzz``: thousands of calls made from the OpenAPI document, and what a stranger may ask for."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import httpx
from rich.console import Console

from tests.fuzz.calls import make_calls
from tests.fuzz.tenants import Owned, Strangers, client, new_key
from tests.integration.stack.running import RunningStack


def main(arguments: list[str] | None = None) -> int:
    """Run, report, and give the exit status: 0 only when every answer was as documented."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=3000, help="at least so many (3000)")
    parser.add_argument("--seed", type=int, help="repeat the cases of another run")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="textmill-fuzz-"))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"seed {seed}; everything is kept in {folder} when this fails")
    stack = RunningStack(folder / "stack")
    stack.data_dir.mkdir()
    try:
        stack.start()
        failed = _run(stack, folder, seed, options.cases, console)
        stack.stop()
    except AssertionError as error:
        console.print(f"FAILED with seed {seed}: {error}", style="red")
        failed = True
    finally:
        stack.end()
    if not failed:
        shutil.rmtree(folder)
    return int(failed)


def _run(stack: RunningStack, folder: Path, seed: int, cases: int, console: Console) -> bool:
    document = httpx.get(f"{stack.client.url}/openapi.json", trust_env=False).json()
    examples = max(1, cases // sum(map(len, document["paths"].values())))
    with (
        client(stack, new_key(stack, "owner")) as owner,
        client(stack, new_key(stack, "stranger")) as stranger,
    ):
        owned = Owned(owner)
        owned.fill()
        owned.look(document)
        before = owned.state()
        strangers = Strangers(document, owned, stranger)
        strangers.ask(examples)
        strangers.search()
        strangers.refer()
        assert owned.state() == before, "a stranger changed something"
    console.print(
        f"{strangers.cases} calls of a stranger by {strangers.operations} operations: 403 and 404 only"
    )
    # By the tenant that has things, so that listings hold some; it may lose them.
    key = new_key(stack, "owner")
    calls = make_calls(document, stack.client.url, key, folder, examples=examples, seed=seed)
    console.print(
        f"{calls.cases} calls of {calls.operations} operations: {calls.failures} failures"
    )
    if calls.failures:
        console.print(calls.text)
    return calls.failures > 0


if __name__ == "__main__":
    sys.exit(main())
