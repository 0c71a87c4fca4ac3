"""The other ``textmill-server`` commands, beside a stack that runs."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.integration.stack.commands import server_command
from tests.integration.stack.dialogue import outcome, problem
from tests.integration.stack.running import RunningStack
from textmill import Textmill


def test_keys_are_made_listed_and_revoked(stack: RunningStack) -> None:
    at = ["--data-dir", str(stack.data_dir)]
    made = server_command(stack, "keys", "create", *at, "--name", "for a test")
    key, key_id = made.stdout.strip(), made.stderr.split()[0]
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{stack.client.url}/v1/jobs"
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
    listed = server_command(stack, "keys", "list", *at).stdout
    assert key_id in listed
    assert "for a test" in listed
    assert key not in listed
    server_command(stack, "keys", "revoke", *at, key_id)
    problem(httpx.get(url, headers=headers, trust_env=False), 401, "unauthenticated")
    assert "no key" in server_command(stack, "keys", "revoke", *at, "key_nonsense", expect=1).stderr


def test_sweep_disturbs_nothing(stack: RunningStack, tm: Textmill) -> None:
    job = tm.jobs.create(kind="echo", input=["a"] * 500, params={"delay_ms": 3})
    server_command(stack, "sweep", "--data-dir", str(stack.data_dir))
    assert len(outcome(job)[0]) == 500


def test_check_config_masks_secrets(stack: RunningStack) -> None:
    shown = server_command(stack, "check-config", "--data-dir", str(stack.data_dir)).stdout
    settings = json.loads(shown)
    assert settings["s3_endpoint"] == stack.embedded.environment()["TEXTMILL_S3_ENDPOINT"]
    assert settings["lease_seconds"] == float(stack.env["TEXTMILL_LEASE_SECONDS"])
    for secret in (stack.embedded.redis_password, stack.embedded.s3_secret_key):
        assert secret not in shown
    bad = server_command(stack, "check-config", expect=1, env={"TEXTMILL_LEASE_SECONDS": "soon"})
    assert "TEXTMILL_LEASE_SECONDS" in bad.stderr


@pytest.mark.parametrize("role", ["api", "worker", "control", "scheduler"])
def test_health(stack: RunningStack, role: str) -> None:
    port = stack.client.url.rpartition(":")[2]
    env = {**stack.embedded.environment(), "TEXTMILL_PORT": port}
    server_command(stack, "health", role, env=env)
    elsewhere = {**env, "TEXTMILL_PORT": "9", "TEXTMILL_REDIS_URL": "redis://127.0.0.1:9/0"}
    assert server_command(stack, "health", role, expect=1, env=elsewhere).stderr


def test_a_second_stack_on_the_same_folder_is_refused(stack: RunningStack) -> None:
    done = server_command(stack, "up", "--data-dir", str(stack.data_dir), "--port", "0", expect=1)
    assert f"in use by process {stack.up.pid}" in done.stderr.replace("\n", " ")
