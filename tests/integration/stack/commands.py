"""Commands beside a stack that runs: others of ``textmill-server``, and the client's ``textmill``."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.integration.stack.running import RunningStack, command

#: A busy machine takes long to start one.
COMMAND_SECONDS = 120.0


def server_process(
    stack: RunningStack, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """A command, started in the folder of the stack; its output can be read."""
    return subprocess.Popen(
        [command("textmill-server"), *arguments],
        env={**stack.env, "COLUMNS": "200", **(env or {})},
        cwd=stack.data_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def server_command(
    stack: RunningStack, *arguments: str, expect: int = 0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command, run to its end."""
    with server_process(stack, *arguments, env=env) as process:
        try:
            out, err = process.communicate(timeout=COMMAND_SECONDS)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == expect, out + err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def textmill(
    stack: RunningStack,
    *arguments: str,
    cwd: Path,
    expect: int = 0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """The client's command, run to its end, with the environment that tells it where the server is."""
    client = stack.client
    own = {"TEXTMILL_URL": client.url, "TEXTMILL_API_KEY": client.api_key, "COLUMNS": "120"}
    done = subprocess.run(
        [command("textmill"), *arguments],
        env={**stack.env, **own, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def started(stack: RunningStack, *arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    """The client's command, under way; whoever starts it reads its output and ends it."""
    client = stack.client
    own = {"TEXTMILL_URL": client.url, "TEXTMILL_API_KEY": client.api_key, "COLUMNS": "120"}
    return subprocess.Popen(
        [command("textmill"), *arguments],
        env={**stack.env, **own},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
