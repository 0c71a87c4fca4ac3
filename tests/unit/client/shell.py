"""Runs the command in this process against a scripted server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from click.testing import CliRunner, Result

from tests.unit.client.scripted import FILE_ID, KEY, Answer, Request, ScriptedServer, reply
from textmill.cli.app import cli

#: What a job's results and errors are.
ROWS = b'{"index": 0, "output": {"label": "\xc3\xa4"}}\n{"index": 2}\n'


class Shell:
    """Runs the command against a server."""

    def __init__(self, server: ScriptedServer) -> None:
        self._environ = {"TEXTMILL_URL": server.url, "TEXTMILL_API_KEY": KEY}

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str | None] | None = None
    ) -> Result:
        runner = CliRunner(env={**self._environ, "COLUMNS": "80", **(environ or {})})
        result = runner.invoke(cli, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


def uploaded(request: Request) -> Answer:
    """Answers an upload with what arrived."""
    raw = {
        "id": FILE_ID,
        "object": "file",
        "filename": request.query["filename"],
        "bytes": request.body_bytes,
        "sha256": hashlib.sha256(request.body).hexdigest(),
        "created_at": "2026-11-02T12:00:00.000Z",
    }
    return reply(raw, 201)


def stored(filename: str, content: bytes) -> dict[str, object]:
    """A file as the API shows it."""
    return {
        "id": FILE_ID,
        "object": "file",
        "filename": filename,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "created_at": "2026-11-02T12:00:00.000Z",
    }


def page(*items: Any) -> dict[str, Any]:
    """The only page of a list."""
    return {"data": list(items), "has_more": False, "next_after": None}
