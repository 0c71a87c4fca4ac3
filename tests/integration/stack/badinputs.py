"""Bad inputs by the hundred: each with the field that the answer must name."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from tests.integration.stack.dialogue import submission

#: Whatever a stranger may put where something else is wanted.
POOL: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    -(2**63),
    2**31,
    2**63 - 1,
    1.5,
    -0.1,
    1e308,
    "",
    " ",
    "x",
    "0",
    "1e3",
    "null",
    "\u0000",
    "\u202ex\u202c",
    "../../etc/passwd",
    "${jndi:ldap://127.0.0.1/a}",
    "'; DROP TABLE jobs; --",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "%s%s%n",
    "a" * 5_000,
    [],
    [None],
    [[]],
    ["x"] * 2_000,
    {},
    {"$ne": None},
    {"__proto__": {"admin": True}},
)

WINDOWS = (
    "0h", "-1h", "1", "h", "24 h", "24H", "1.5h", "1e3h", "100000d", "24hours", "P1D", "2026-11-28", "1h1h",
    "٢h", "24h\n",
)  # fmt: skip

ERRORS = (
    "-1%", "101%", "1e1%", "%", "1", "0x1%", "1 %", "1%%", "NaN%", "inf%", "٣%", "1.00001%", -1, 10**12,
    1.5, True,
)  # fmt: skip

URIS = (
    "s3://", "s3:///x", "s3://corpora", "s3://Corpora/x", "s3://co rpora/x", "s3://corpora/..",
    "s3://corpora/../textmill/x", "s3://corpora/a/../../b", "s3://corpora/\x00", "s3://corpora/a\r\nb",
    "S3://corpora/x", "s3a://corpora/x", "gs://corpora/x", "http://169.254.169.254/latest/meta-data/",
    "https://corpora/x", "file:///etc/passwd", "//corpora/x", "corpora/x", "s3:corpora/x",
    "s3://textmill/tenants/default/keys/*", "s3://textmill/system/installation.json",
    "s3://corpora-of-others/x", "s3://corpora.evil.example/x", "s3://user:secret@corpora/x",
    "s3://corpora/" + "a" * 2000, "javascript:alert(1)", "s3://[::1]/x", "s3://127.0.0.1:8333/x",
    "s3://-corpora/x", "s3://corpora-/x", "s3://c/x", "data:text/plain,x",
)  # fmt: skip

IDS = (
    "", ".", "..", "../keys", "..\\keys", "job_", "file_", "file_" + "0" * 25, "file_" + "0" * 27,
    "file_" + "0" * 25 + "I", "FILE_" + "0" * 26, "key_" + "0" * 26, "job_" + "0" * 26,
    "file_" + "0" * 25 + "\u0660", "file_*", "file_%00", "file_" + "0" * 26,
    "file_" + "0" * 26 + "/content", "tenants/default/files", "0", "null",
)  # fmt: skip

MODELS = (
    "", ":", "pkg:", "pkg:no_such_package_at_all", "pkg:os.path", "pkg:../x", "pkg:os;import", "registry:",
    "registry:nothing", "registry:nothing@1", "registry:../x", "registry:a@../b", "registry:a@", "hf:",
    "hf:../..", "hf:a/b/c", "hf:a/b@", "hf:a b/c", "s3://textmill/tenants/default/models/x",
    "s3://corpora-of-others/model", "file:/etc/passwd", "file:", "scratch:", "scratch:nothing",
    "http://127.0.0.1/model", "\x00", "a" * 3_000, "a/b/c/d", "registry:a\nb", "git+ssh://x/y",
)  # fmt: skip


@dataclass(frozen=True)
class Bad:
    """A submission that must be refused, and the field at fault."""

    body: Mapping[str, Any]
    field: str
    about: str  #: for people, when a test fails


def submissions(document: Mapping[str, Any]) -> Iterator[Bad]:
    """Wrong values of each field and of each parameter of each kind, as the schemas tell them, and more by hand."""
    yield from _by_schema(document)
    yield from _by_hand()
    yield from (Bad(submission(**{name: 1}), name, "unknown field") for name in _NAMES)


def _by_schema(document: Mapping[str, Any]) -> Iterator[Bad]:
    schemas = document["components"]["schemas"]
    for field, schema in schemas["EchoJob"]["properties"].items():
        if field in ("kind", "params", "input"):
            continue
        for value in _wrong(schema, schemas):
            yield Bad(submission(**{field: value}), field, _said(value))
    for field, schema in schemas["InputSpec"]["properties"].items():
        if field in ("items", "file", "uri"):
            continue
        for value in _wrong(schema, schemas):
            source = {"items": [{"text": "a"}], field: value}
            yield Bad(submission(input=source), f"input.{field}", _said(value))
    for kind, reference in _kinds(document).items():
        params = schemas[reference]["properties"]["params"]["$ref"].rpartition("/")[2]
        for field, schema in schemas[params]["properties"].items():
            for value in _wrong(schema, schemas):
                yield Bad(
                    submission(kind=kind, params={field: value}), f"params.{field}", _said(value)
                )
        yield Bad(submission(kind=kind, params={"no_such": 1}), "params.no_such", kind)


def _by_hand() -> Iterator[Bad]:
    for field, values in _LISTS.items():
        for value in values:
            yield Bad(_with(field, value), field, _said(value))
    for value in POOL:
        if not isinstance(value, dict):
            yield Bad(submission(input=value), "input", _said(value))
            yield Bad(submission(params=value), "params", _said(value))
        if not isinstance(value, list) or not 1 <= len(value) <= 1000:
            yield Bad(submission(input={"items": value}), "input", _said(value))
        if not isinstance(value, str):
            yield Bad(submission(kind=value), "kind", _said(value))


#: What no field of this name takes, beyond what its schema says.
_LISTS: Mapping[str, tuple[Any, ...]] = {
    "completion_window": WINDOWS,
    "max_errors": ERRORS,
    "input.uri": URIS,
    "input.file": IDS,
    "model": MODELS,
    "kind": ("", "Echo", "echo ", "fine-tune", "../echo", "nothing", "__class__", "echo\0"),
}

#: Names that no field has.
_NAMES = ("Kind", "inputs", "__proto__", "constructor", "tenant", "id", "status", "a" * 300, "")


def _with(field: str, value: Any) -> dict[str, Any]:
    """A submission with this value, of a kind that has the field."""
    if field == "model":
        return submission(kind="classify", model=value, params={"candidate_labels": ["a", "b"]})
    if field.startswith("input."):
        return submission(input={field.removeprefix("input."): value})
    return submission(**{field: value})


def _kinds(document: Mapping[str, Any]) -> dict[str, str]:
    post = document["paths"]["/v1/jobs"]["post"]
    shape = post["requestBody"]["content"]["application/json"]["schema"]
    return {
        name: reference.rpartition("/")[2]
        for name, reference in shape["discriminator"]["mapping"].items()
    }


def _wrong(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Any]:
    """What of the pool a schema does not take."""
    validator = Draft202012Validator({**schema, "components": {"schemas": schemas}})
    yield from (value for value in POOL if not validator.is_valid(value))


def _said(value: object) -> str:
    return repr(value)[:60]


def bodies() -> Iterator[tuple[bytes, dict[str, str]]]:
    """Bodies that are no JSON of ours at all, with their headers."""
    plain = {"Content-Type": "application/json"}
    for data in (
        b"\x00", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"{'kind': 'echo'}", b"{kind: 1}",
        b'{"kind": "echo",}', b"[", b'"', b"{}{}", b"{} x", b"//{}", b'{"a": 01}', b'{"a": .5}',
        b'{"a": 1.}', b'{"a": +1}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": NaN}', b'{"a": 0x10}',
        b'{"a": tru}', b'{"a": "\t"}', b'{"a": "\\x41"}', b'{"a": "\\u12"}', b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}', b'{"\xc3\x28": 1}', b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xf8\x88\x80\x80\x80"}', b'{"a": "\xc0\xaf"}', b"<json/>", b"---\na: 1", b"[" * 50_000,
        b'{"a":' * 50_000, b"[" * 2000 + b"]" * 2000, b'{"a":' * 2000 + b"1" + b"}" * 2000,
        gzip.compress(b"{}"), base64.b64encode(b"{}"), "{}".encode("utf-32"), b"kind=echo",
    ):  # fmt: skip
        yield data, plain
    for data in (b"null", b"true", b"1", b'"text"', b"[]", b"[{}]", b"1e5"):
        yield data, plain
    for kind in (
        "text/html", "application/x-ndjson", "application/octet-stream", "multipart/form-data",
        "application/json-patch+json", "application/problem+json", "image/png", "*/*", "application/json2",
        "x/y",
    ):  # fmt: skip
        yield b"{}", {"Content-Type": kind}
    for coding in (
        "br",
        "deflate",
        "compress",
        "gzip, gzip",
        "identity, br",
        "aes128gcm",
        "x" * 100,
    ):
        yield b"{}", {**plain, "Content-Encoding": coding}


#: Headers that mean something, with what they may not hold.
HEADERS: tuple[tuple[str, str], ...] = (
    *(("Idempotency-Key", value) for value in ("", "a b", "k" * 256, "\xfcber", "a\tb")),
    *(
        ("Authorization", value) for value in
        (
            "", "Bearer", "Bearer x y", "Basic eDp5", "bearer tm_", "Token x", "Bearer " + "k" * 3000,
        )
    ),
)  # fmt: skip

#: Paths below ``/v1``, as sent, that name nothing.
PATHS: tuple[str, ...] = (
    *(
        f"/v1/jobs/{name}" for name in
        (
            "%2e%2e", "job_%0a", "job_" + "0" * 26 + "%2fresults", "%00", "job_" + "A" * 26, "%ff%fe",
            "a" * 3000,
        )
    ),
    *(
        f"/v1/files/{name}" for name in
        (
            "%2e%2e%2fkeys", "file_%2a", "file_" + "0" * 26 + "%00", "..;/keys", "%252e%252e",
        )
    ),
    *(
        f"/v1/models/{name}" for name in
        (
            "%2e%2e", "a%2fb", "a%5cb", "%20", "a" * 97, "CON%00", "-x", ".hidden",
        )
    ),
    *(f"/v1/models/x/aliases/{name}" for name in ("%2e%2e", "a%2fb", "latest%00")), "/v1/jobs//results",
    "/v1/./jobs/x", "/v1/../v1/jobs/x", "/v1/%6aobs/x", "/V1/jobs", "/v1/jobs.json",
    "/v1;x/jobs", "/.env", "/.git/config", "/admin",
    "/static/../../etc/passwd",
)  # fmt: skip

#: Queries that no call takes.
QUERIES: tuple[str, ...] = (
    *(
        f"/v1/jobs?limit={value}" for value in
        (
            "", "-1", "0", "101", "1e1", "0x5", "+5", "5.0", "%205", "1_0", "9" * 40, "%D9%A3", "true",
            "NaN",
        )
    ),

    *(f"/v1/jobs?status={value}" for value in ("", "COMPLETED", "completed%00", "done", "completed,failed")),
    *(f"/v1/jobs?{name}=1" for name in ("Limit", "page", "offset", "tenant", "limit[]", "__proto__", "sort")),
    *(f"/v1/files?limit={value}" for value in ("", "0", "1000", "ten")),
    *(f"/v1/models?limit={value}" for value in ("", "0", "1000", "ten")), "/v1/jobs?kind=echo&kind=echo",
    "/v1/jobs?limit=1&limit=1", "/v1/kinds?x", "/v1/workers?all=true", "/v1/files?tenant=other",
)  # fmt: skip
