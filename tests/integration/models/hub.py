"""A model hub on loopback: as much of the Hugging Face hub's HTTP as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPO = "acme/tiny"


class Hub:
    """One repository, whose files lie in a folder; its commit is a hash over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []  #: paths of all requests

    @property
    def commit(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for path in sorted(self.folder.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        path = path.split("?", maxsplit=1)[0]
        self.asked.append(path)
        if path.startswith(f"/api/models/{REPO}/tree/"):
            tree = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": path.name}
                for path in sorted(self.folder.iterdir())
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if path.startswith(f"/api/models/{REPO}"):
            names = [{"rfilename": path.name} for path in sorted(self.folder.iterdir())]
            info = {"id": REPO, "modelId": REPO, "sha": self.commit, "siblings": names, "tags": []}
            return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()
        prefix = f"/{REPO}/resolve/{self.commit}/"
        file = self.folder / path.removeprefix(prefix)
        if path.startswith(prefix) and file.is_file():
            body = file.read_bytes()
            etag = hashlib.sha256(body).hexdigest()
            return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": self.commit}, body
        code = "RepoNotFound" if path.startswith("/api/models/") else "EntryNotFound"
        return 404, {"X-Error-Code": code, "X-Error-Message": "not here"}, b""


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Serve the hub; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
