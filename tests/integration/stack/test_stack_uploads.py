"""Uploads by parts and presigned transfers, over HTTP."""

from __future__ import annotations

import hashlib
import random
import socket
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.stack.dialogue import problem
from tests.integration.stack.running import RunningStack

PART = 8 << 20
NO_UPLOAD = "upload_" + "0" * 26


def data(size: int, seed: int = 0) -> bytes:
    """Bytes that nothing can compress or mix up."""
    return random.Random(seed).randbytes(size)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def begin(http: httpx.Client, **given: Any) -> dict[str, Any]:
    reply = http.post("/v1/uploads", json={"filename": "a.jsonl", **given})
    assert reply.status_code == 201, reply.text
    upload = cast("dict[str, Any]", reply.json())
    assert reply.headers["Location"] == f"/v1/uploads/{upload['id']}"
    return upload


def put(
    http: httpx.Client, upload: dict[str, Any], number: object, content: bytes
) -> httpx.Response:
    return http.put(f"/v1/uploads/{upload['id']}/parts/{number}", content=content)


def complete(http: httpx.Client, upload: dict[str, Any], **given: Any) -> httpx.Response:
    path = f"/v1/uploads/{upload['id']}/complete"
    return http.post(path, json=given) if given else http.post(path)


def test_from_parts_to_a_file(http: httpx.Client) -> None:
    content = data(PART + 1000)
    upload = begin(http, bytes=len(content))
    assert (upload["status"], upload["part_bytes"]) == ("open", PART)
    second = put(http, upload, 2, content[PART:])
    assert second.json() == {"number": 2, "bytes": 1000, "sha256": sha256(content[PART:])}
    shown = http.get(f"/v1/uploads/{upload['id']}").json()
    assert [part["number"] for part in shown["parts"]] == [2]
    assert upload["id"] in [one["id"] for one in http.get("/v1/uploads").json()["data"]]
    problem(complete(http, upload), 409, "conflict")
    assert put(http, upload, 1, content[:PART]).status_code == 200
    problem(complete(http, upload, sha256="0" * 64), 422, "invalid_request", "sha256")
    file = complete(http, upload, sha256=sha256(content)).json()
    assert (file["id"], file["bytes"]) == (upload["file_id"], len(content))
    assert http.get(f"/v1/files/{file['id']}/content").content == content
    assert complete(http, upload).json() == file
    after = http.get(f"/v1/uploads/{upload['id']}").json()
    assert (after["status"], after["file_id"], after["parts"]) == ("completed", file["id"], [])
    assert upload["id"] not in [one["id"] for one in http.get("/v1/uploads").json()["data"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filename"),
        ({"filename": ""}, "filename"),
        ({"filename": "a/b"}, "filename"),
        ({"filename": "..\\x"}, "filename"),
        ({"filename": ".."}, "filename"),
        ({"filename": "a\nb"}, "filename"),
        ({"filename": "a" * 256}, "filename"),
        ({"filename": "a", "bytes": 0}, "bytes"),
        ({"filename": "a", "bytes": -1}, "bytes"),
        ({"filename": "a", "bytes": "5"}, "bytes"),
        ({"filename": "a", "bytes": 1.5}, "bytes"),
        ({"filename": "a", "bytes": 10**30}, "bytes"),
        ({"filename": "a", "sha256": "abc"}, "sha256"),
        ({"filename": "a", "sha256": "A" * 64}, "sha256"),
        ({"filename": "a", "part_bytes": 1}, "part_bytes"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/files?presign=true"])
def test_what_cannot_be_begun(
    http: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    problem(http.post(path, json=body), 422, "invalid_request", field)


def test_what_is_over_the_limit_cannot_be_begun(http: httpx.Client) -> None:
    for path in ("/v1/uploads", "/v1/files?presign=true"):
        problem(http.post(path, json={"filename": "a", "bytes": 1 << 40}), 413, "too_large")
    huge = {"filename": "a", "bytes": 6 << 30}
    problem(http.post("/v1/files?presign=true", json=huge), 413, "too_large")


def test_parts_that_are_refused(http: httpx.Client) -> None:
    upload = begin(http)
    path = f"/v1/uploads/{upload['id']}/parts"
    for number in ("0", "10001", "-1", "1.5", "x", "1e3", "\u0661", "9" * 40, "%00"):
        problem(http.put(f"{path}/{number}", content=b"x"), 422, "invalid_request", "number")
    problem(http.put(f"{path}/1", content=b""), 422, "invalid_request", "body")
    problem(http.put(f"{path}/1", content=bytes(PART + 1)), 413, "too_large")
    coded = http.put(f"{path}/1", content=b"x", headers={"Content-Encoding": "gzip"})
    problem(coded, 415, "unsupported_media_type")
    problem(http.put(f"{path}/1", content=iter([b"x"])), 411, "length_required")
    problem(http.put(f"{path}/1?x=1", content=b"x"), 422, "invalid_request", "x")
    assert http.get(f"/v1/uploads/{upload['id']}").json()["parts"] == []
    assert http.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    for reply in (
        http.delete(f"/v1/uploads/{upload['id']}"),
        http.get(f"/v1/uploads/{upload['id']}"),
        put(http, upload, 1, b"x"),
        complete(http, upload),
        http.get(f"/v1/uploads/{NO_UPLOAD}"),
        http.get("/v1/uploads/..%2Fkeys"),
        http.post(f"/v1/uploads/{upload['file_id']}/complete"),
        http.post(f"/v1/files/{upload['id']}/complete"),
        http.post(f"/v1/files/{upload['file_id']}/complete"),
    ):
        problem(reply, 404, "not_found")


def test_a_part_whose_sender_goes_away_is_not_there(
    stack: RunningStack, http: httpx.Client
) -> None:
    upload = begin(http)
    at = urlsplit(stack.client.url)
    with socket.create_connection((at.hostname or "", at.port or 0)) as line:
        head = (
            f"PUT /v1/uploads/{upload['id']}/parts/1 HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {stack.client.api_key}\r\nContent-Length: 3000000\r\n\r\n"
        )
        line.sendall(head.encode() + bytes(2_000_000))
    assert put(http, upload, 1, b"whole").status_code == 200
    assert complete(http, upload).json()["sha256"] == sha256(b"whole")


def test_completing_goes_on_after_the_api_was_killed(
    stack: RunningStack, http: httpx.Client
) -> None:
    content = data(2 * PART + 5)
    upload = begin(http)
    assert put(http, upload, 1, content[:PART]).status_code == 200
    stack.kill_api()
    stack.await_api()
    for number in (2, 3):
        at = (number - 1) * PART
        assert put(http, upload, number, content[at : at + PART]).status_code == 200
    with (
        httpx.Client(
            base_url=http.base_url, headers=http.headers, trust_env=False, timeout=0.02
        ) as hasty,
        pytest.raises(httpx.TransportError),
    ):
        hasty.post(f"/v1/uploads/{upload['id']}/complete")
    stack.kill_api()
    stack.await_api()
    assert complete(http, upload).json()["sha256"] == sha256(content)


def test_a_file_put_to_the_store_itself(http: httpx.Client) -> None:
    content = data(100_000)
    asked = {"filename": "b.csv", "bytes": len(content), "sha256": sha256(content)}
    reply = http.post("/v1/files?presign=true", json=asked)
    assert reply.status_code == 200
    made = reply.json()
    problem(http.get(f"/v1/files/{made['id']}"), 404, "not_found")
    problem(http.post(made["links"]["complete"]), 409, "conflict")
    request = made["upload"]
    stored = httpx.request(
        request["method"],
        request["url"],
        headers=request["headers"],
        content=content,
        trust_env=False,
    )
    assert stored.status_code == 200
    file = http.post(made["links"]["complete"], json={"sha256": sha256(content)}).json()
    assert (file["id"], file["filename"]) == (made["id"], "b.csv")
    assert http.post(made["links"]["complete"]).json() == file
    assert http.get(f"/v1/files/{file['id']}/content").content == content
    assert made["id"] not in [one["id"] for one in http.get("/v1/uploads").json()["data"]]
    for body in (b"", b"[]", b"{"):
        headers = {"Content-Type": "application/json"}
        reply = http.post("/v1/files?presign=true", content=body, headers=headers)
        assert reply.status_code in (400, 422), reply.text


def test_a_file_by_way_of_the_store(http: httpx.Client) -> None:
    name = 'a "b" \u00e4.jsonl'
    file = http.post("/v1/files", params={"filename": name}, content=b"12345").json()
    path = f"/v1/files/{file['id']}/content"
    reply = http.get(path, params={"redirect": "true"})
    assert (reply.status_code, reply.content) == (307, b"")
    assert reply.headers["Cache-Control"] == "no-store"
    stored = httpx.get(reply.headers["Location"], trust_env=False)
    assert stored.content == b"12345"
    assert stored.headers["Content-Disposition"] == 'attachment; filename="a _b_ _.jsonl"'
    assert stored.headers["Content-Type"] == "application/octet-stream"
    followed = http.get(path, params={"redirect": "true"}, follow_redirects=True)
    assert followed.content == b"12345"
    head = http.head(path, params={"redirect": "true"})
    assert httpx.head(head.headers["Location"], trust_env=False).status_code == 200
    problem(http.get(path, params={"redirect": "maybe"}), 422, "invalid_request", "redirect")
    none = "file_" + "0" * 26
    problem(http.get(f"/v1/files/{none}/content?redirect=true"), 404, "not_found")


def test_conditions_and_ranges_of_a_file(http: httpx.Client) -> None:
    file = http.post("/v1/files", params={"filename": "a"}, content=b"0123456789").json()
    path, etag = f"/v1/files/{file['id']}/content", f'"{file["sha256"]}"'
    assert http.get(path).headers["ETag"] == etag
    same = http.get(path, headers={"If-None-Match": etag})
    assert (same.status_code, same.content) == (304, b"")
    assert http.head(path, headers={"If-None-Match": etag}).status_code == 304
    for asked, expected in {"bytes=2-3": b"23", "bytes=8-": b"89", "bytes=-3": b"789"}.items():
        part = http.get(path, headers={"Range": asked, "If-Range": etag})
        assert (part.status_code, part.content) == (206, expected)
    whole = http.get(path, headers={"Range": "bytes=2-3", "If-Range": '"other"'})
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    problem(http.get(path, headers={"Range": "bytes=10-"}), 416, "range_not_satisfiable")
    problem(http.get(path, headers={"Range": "bytes=0-1,4-5"}), 416, "range_not_satisfiable")
    assert http.head(path, headers={"Range": "bytes=2-3"}).headers["Content-Length"] == "10"
