"""The receiver in the guide takes what we sign and nothing else."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import cast

import pytest
from flask import Flask

from jobs.webhooks import event_body, signed_headers

GUIDE = Path(__file__).parents[2] / "docs/howto/webhooks.md"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def test_the_example_receiver_verifies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    monkeypatch.setenv("TEXTMILL_WEBHOOK_SECRET", SECRET)
    scope: dict[str, object] = {"__name__": "receiver"}
    exec(found[1], scope)  # the example itself is what is tested
    client = cast(Flask, scope["app"]).test_client()
    body = event_body(
        {"type": "job.completed", "data": {"id": "job_a", "request_counts": {"total": 3}}}
    )
    headers = dict(signed_headers(SECRET, "job_a:1:completed", int(time.time()), body))
    for _ in range(2):
        assert client.post("/textmill", data=body, headers=headers).status_code == 204
    assert capsys.readouterr().out == "job.completed job_a {'total': 3}\n"
    assert client.post("/textmill", data=body + b" ", headers=headers).status_code == 401
    assert client.post("/textmill", data=body).status_code == 401
