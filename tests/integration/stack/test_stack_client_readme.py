"""The client's README, block by block, and the asynchronous client, against a running stack."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import textmill
from tests.integration.stack.running import RunningStack
from textmill import AsyncJob, AsyncTextmill, RetryPolicy

README = Path(__file__).parents[3] / "client" / "README.md"
#: By the headings under which they stand.
BLOCKS = [
    (part.partition("\n")[0], language, code)
    for part in README.read_text("utf-8").split("\n## ")
    for language, code in re.findall(r"^```(python|sh)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
]

#: What each block prints, in order.
PRINTS = [
    r"3 rows done, 0 failed\n1 complaint\n2 praise\n3 (praise|complaint)\n",
    r"\['(praise|complaint)', '(praise|complaint)'\]\n",
    r"(validating|in_progress)\n(.*\n)*it goes on: (True|False)\ncompleted \d+\.\d+\n",
    r"\d+ labels\n",
    r"params\.top_k is wrong: .+\nnot_found 404 \S+\n(.*\n)*.*nothing.*\n(.*\n)*",
    r"(job_\w+)\n\1\n",
    r"(.*\n)*.*classify.*\n(.*\n)*",
]


@pytest.fixture(scope="module")
def folder(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which the stack is found, with the file that the README is about."""
    made = tmp_path_factory.mktemp("readme")
    (made / ".textmill").mkdir()
    shutil.copy(stack.data_dir / "client.toml", made / ".textmill/client.toml")
    (made / "reviews.csv").write_text(
        "id,text\n1,The battery died.\n2,Wonderful! I love it.\n3,It is blue.\n"
    )
    return made


@pytest.mark.parametrize(
    ("block", "prints"), list(zip(BLOCKS, PRINTS, strict=True)), ids=[block[0] for block in BLOCKS]
)
def test_the_readmes_blocks_run(folder: Path, block: tuple[str, str, str], prints: str) -> None:
    _, language, code = block
    source = Path(textmill.__file__).parents[1]
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [sys.executable, "-W", "error", "-c", code]
    if language == "sh":
        command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, "PATH": path, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(prints, done.stdout), done.stdout


def test_many_async_waits_go_through_a_killed_api(stack: RunningStack) -> None:
    """Jobs are submitted, waited for and read at once while the API is killed and started again."""

    async def run_one(tm: AsyncTextmill, number: int) -> list[str]:
        job: AsyncJob = await tm.jobs.create(
            kind="echo", input=[f"{number} {row}" for row in range(20)], params={"delay_ms": 20}
        )
        ended = await job.wait(timeout=240)
        return [row["output"]["text"] async for row in ended.results()]

    patient = RetryPolicy(attempts=100, max_seconds=1.0)  # a busy machine is long in starting one

    async def run() -> list[list[str]]:
        async with AsyncTextmill(stack.client.url, stack.client.api_key, retry=patient) as tm:
            work = [asyncio.create_task(run_one(tm, number)) for number in range(30)]
            await asyncio.sleep(1.0)
            api = stack.process("api")
            assert api is not None
            api.kill()
            return await asyncio.gather(*work)

    found = asyncio.run(run())
    assert found == [[f"{number} {row}" for row in range(20)] for number in range(30)]
