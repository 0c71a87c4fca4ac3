"""What may be said of a webhook, what is refused, and how events are signed."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
from dataclasses import replace

import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobs.addresses import is_public, is_reachable
from jobs.errors import InvalidRequest
from jobs.params import validate
from jobs.record import JobRecord
from jobs.spec import JobSpec
from jobs.states import Lane, Status
from jobs.webhooks import (
    WebhookSpec,
    check_target,
    event,
    event_body,
    event_id,
    parse_target,
    signed_headers,
)
from storage.submission import SubmittedJob

KEY = bytes(range(24))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
URL = "https://hooks.example.org/textmill?team=a"


def spec(**webhook: object) -> JobSpec:
    body = {"kind": "echo", "input": {"items": [{"text": "a"}]}, "webhook": webhook}
    return validate(JobSpec, orjson.dumps(body))


# --- signatures ------------------------------------------------------------------------------------------

ENDED = JobRecord(
    id="job_a",
    tenant="default",
    kind="echo",
    status=Status.COMPLETED,
    created_at=1_000,
    ended_at=5_000,
    attempts=2,
    webhook=True,
    metadata={"ümlaut": "\N{PILE OF POO}"},
)


def test_the_reference_implementation_verifies_what_we_sign() -> None:
    body = event_body(event(ENDED))
    now = int(dt.datetime.now(dt.UTC).timestamp())
    headers = dict(signed_headers(SECRET, event_id(ENDED), now, body))
    assert Webhook(SECRET).verify(body, headers) == orjson.loads(body)
    assert headers["webhook-id"] == "job_a:2:completed"


@pytest.mark.parametrize("harm", ["body", "id", "time", "key", "late"])
def test_it_verifies_nothing_else(harm: str) -> None:
    body = event_body(event(ENDED))
    now = int(dt.datetime.now(dt.UTC).timestamp())
    at = now - 3_600 if harm == "late" else now
    headers = dict(signed_headers(SECRET, event_id(ENDED), at, body))
    secret = SECRET
    match harm:
        case "body":
            body += b" "
        case "id":
            headers["webhook-id"] = "job_b:2:completed"
        case "time":
            headers["webhook-timestamp"] = str(now - 1)
        case "key":
            secret = "whsec_" + base64.b64encode(os.urandom(24)).decode()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_the_event_holds_the_public_job() -> None:
    made = event(ENDED)
    assert made["type"] == "job.completed"
    assert made["timestamp"] == "1970-01-01T00:00:05.000Z"
    assert made["data"] == ENDED.public()
    assert made["data"]["links"]["deliveries"] == "/v1/jobs/job_a/deliveries"
    assert "deliveries" not in replace(ENDED, webhook=False).public()["links"]


# --- the submission ----------------------------------------------------------------------------------------


def test_the_secret_is_kept_in_job_json_alone() -> None:
    given = spec(url=URL, secret=SECRET)
    job = SubmittedJob(
        id="job_a",
        tenant="default",
        spec=given,
        model=None,
        body_hash="",
        created_at=0,
        lane=Lane.QUICK,
    )
    kept = job.to_json()
    assert SECRET.encode() in kept
    assert SubmittedJob.from_json(kept).spec == given
    shown = [repr(given), str(given), repr(job), str(given.model_dump()), repr(job.new_job())]
    assert not any(SECRET in text or SECRET[6:] in text for text in shown)


def test_what_was_not_given_is_not_written_down() -> None:
    """Bodies hashed before these fields existed have the same hash now."""
    body = {"kind": "echo", "input": {"items": [{"text": "a"}]}}
    entry = validate(JobSpec, orjson.dumps(body)).model_dump(mode="json")
    assert "webhook" not in entry
    assert "output" not in entry


BAD_SECRETS = [
    "",
    "whsec_",
    "whsec_short1",
    "wrong_" + SECRET[6:],
    SECRET[6:],
    SECRET + "!",
    SECRET[:-1],
    "whsec_" + base64.b64encode(bytes(23)).decode(),
    "whsec_" + base64.b64encode(bytes(65)).decode(),
    "whsec_" + base64.urlsafe_b64encode(b"\xff" * 24).decode(),
    "WHSEC_" + SECRET[6:],
    " " + SECRET,
    "whsec_ümlautümlautümlautümlautümlaut",
    SECRET.encode("utf-16").decode("latin-1"),
]


@pytest.mark.parametrize("secret", BAD_SECRETS)
def test_a_wrong_secret_is_refused_and_never_repeated(secret: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        spec(url=URL, secret=secret)
    (field,) = refused.value.fields
    assert field.field == "webhook.secret"
    assert field.value is None
    assert "whsec_ and the base64" in field.reason
    told = f"{refused.value.detail} {field}"
    assert len(secret) < 8 or secret not in told


@pytest.mark.parametrize(
    "webhook",
    [
        SECRET,
        [SECRET],
        {"url": URL, "secret": [SECRET]},
        {"url": URL, "secrets": SECRET},
        {"url": URL, "secret": SECRET, SECRET: 1},
        {"url": URL, "secret": SECRET, "more": SECRET},
        {"url": URL, "secret": 10**18},
    ],
)
def test_a_secret_in_a_wrong_place_is_not_repeated(webhook: object) -> None:
    body = {"kind": "echo", "input": {"items": [{"text": "a"}]}, "webhook": webhook}
    with pytest.raises(InvalidRequest) as refused:
        validate(JobSpec, orjson.dumps(body))
    assert not any(field.value for field in refused.value.fields)
    assert SECRET not in f"{refused.value.detail} {refused.value.fields}"


def test_a_password_in_the_url_is_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as refused:
        spec(url="https://me:hunter2@hooks.example.org/a?b=https://c:d@e", secret=SECRET)
    (field,) = refused.value.fields
    assert (field.field, "hunter2" in str(field)) == ("webhook.url", False)
    assert "no user or password" in field.reason


# --- where it may go ---------------------------------------------------------------------------------------

GOOD_URLS = {
    "https://example.org": ("https", "example.org", 443, "/", "example.org"),
    "https://EXAMPLE.org.:8443/a/../b?c=d@e": (
        "https", "example.org", 8443, "/a/../b?c=d@e", "example.org:8443",
    ),
    "HTTPS://xn--bcher-kva.example/": ("https", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
    "https://example.org?x": ("https", "example.org", 443, "/?x", "example.org"),
    "https://8.8.8.8:443/": ("https", "8.8.8.8", 443, "/", "8.8.8.8"),
    "https://[2001:4860:4860:0::8888]:1/": (
        "https", "2001:4860:4860::8888", 1, "/", "[2001:4860:4860::8888]:1",
    ),
    "https://a_b.example.org/": ("https", "a_b.example.org", 443, "/", "a_b.example.org"),
}  # fmt: skip


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_url_is_taken_apart(url: str) -> None:
    target = parse_target(url)
    parts = (target.scheme, target.host, target.port, target.path, target.host_header)
    assert parts == GOOD_URLS[url]
    check_target(url, allow_http=False, allowed=())


#: Each is refused at submission, whatever networks resolvers and URL parsers of others would make of it.
HOSTILE_URLS = [
    # not what it says
    "", "example.org", "//example.org", "https:example.org", "https:/example.org", "https://", "https:///a",
    "https://?a", "https://#a", "ftp://example.org", "file:///etc/passwd", "gopher://example.org/_GET",
    "javascript:alert(1)", "data:text/plain,a", "dict://example.org:11211/", "ldap://example.org", "unix:///run/a",
    "jar:https://example.org!/", "http+unix://%2frun%2fdocker.sock/", "https//example.org",
    # other programs read them otherwise
    "https://example.org\\@127.0.0.1/", "https://127.0.0.1\\@example.org/", "https:\\\\example.org",
    "https://exa mple.org/", "https://example.org/\r\nHost: a", "https://example.org/a b", "https://example.org\t/",
    "\thttps://example.org", "https://example.org/\x00", "https://exam\u2024ple.org", "https://example\u3002org/",
    "https://\uff11\uff12\uff17.0.0.1/", "https://\u2460\u2461\u2466.0.0.1/", "https://ex%61mple.org/",
    "https://127%2e0%2e0%2e1/", "https://[::1]example.org/", "https://[::1", "https://::1/", "https://[]/",
    "https://[example.org]/", "https://[127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/",
    "https://example.org:/", "https://example.org:0/", "https://example.org:65536/", "https://example.org:99999/",
    "https://example.org:-1/", "https://example.org:80:80/", "https://example.org:8_0/", "https://example.org:0x50/",
    "https://.example.org/", "https://example..org/", "https://-a.example.org/", "https://a-.example.org/",
    "https://" + "a" * 64 + ".example.org/", "https://" + "a." * 127 + "org/", "https://exa$mple.org/",
    "https://example.org,127.0.0.1/", "https://example.org;127.0.0.1/", "https://*.example.org/", "https://a..",
    "https://.", "https://../",
    # users
    "https://user@example.org/", "https://user:password@example.org/", "https://:@example.org/",
    "https://example.org@127.0.0.1/", "https://127.0.0.1@example.org/", "https://a@b@example.org/",
    "https://example.org%40@127.0.0.1/", "https://example.org:443@127.0.0.1:80/",
    # fragments
    "https://example.org/#a", "https://example.org#@127.0.0.1/", "https://127.0.0.1#.example.org/",
    # lengths
    "https://example.org/" + "a" * 2_048,
    # no TLS
    "http://example.org/", "HTTP://example.org/", "http://8.8.8.8/",
    # inside, by IPv4
    "https://127.0.0.1/", "https://127.0.0.1:8443/a", "https://127.255.255.254/", "https://0.0.0.0/",
    "https://0.1.2.3/", "https://10.0.0.1/", "https://172.16.0.1/", "https://172.31.255.255/",
    "https://192.168.0.1/", "https://169.254.169.254/latest/meta-data/", "https://169.254.170.2/",
    "https://100.64.0.1/", "https://100.100.100.200/", "https://192.0.0.1/", "https://192.0.2.1/",
    "https://198.18.0.1/", "https://198.51.100.1/", "https://203.0.113.1/", "https://224.0.0.1/",
    "https://239.255.255.250/", "https://240.0.0.1/", "https://255.255.255.255/", "https://192.88.99.1/",
    "https://168.63.129.16/",
    # by other spellings of IPv4
    "https://2130706433/", "https://017700000001/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0x7f.1/",
    "https://127.1/", "https://127.0.1/", "https://0177.0.0.1/", "https://127.0.0.01/", "https://0/", "https://00/",
    "https://0x/", "https://127.0.0.0x1/", "https://127.0.0.1./", "https://1.2.3.4.5/", "https://256.0.0.1/",
    "https://3232235777/", "https://0251.0376.0251.0376/", "https://2852039166/", "https://0xa9fea9fe/",
    "https://169.254.43518/", "https://00000177.0.0.1/", "https://example.0x7f/", "https://example.1/",
    # by name
    "https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://a.localhost/", "https://a.b.localhost:1",
    # by IPv6
    "https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::127.0.0.1]/", "https://[::7f00:1]/",
    "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:169.254.169.254]/", "https://[::ffff:0:127.0.0.1]/", "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b::a9fe:a9fe]/", "https://[64:ff9b:1::808:808]/", "https://[64:ff9b::10.1.2.3]/",
    "https://[2002:7f00:1::]/", "https://[2002:a9fe:a9fe::1]/", "https://[2002:c0a8:1::1]/",
    "https://[2001:0:808:808::80ff:fffe]/", "https://[2001:0:a00:1::1]/", "https://[fe80::1]/",
    "https://[fec0::1]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/", "https://[ff02::1]/", "https://[ff0e::1]/",
    "https://[100::1]/", "https://[2001:db8::1]/", "https://[3fff::1]/", "https://[5f00::1]/", "https://[4000::1]/",
    "https://[2001:2::1]/", "https://[2001:10::1]/",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=lambda url: repr(url[:60]))
def test_a_hostile_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_target(url, allow_http=False, allowed=())
    (field,) = refused.value.fields
    assert field.field == "webhook.url"
    assert "expected" in field.reason
    assert len(refused.value.detail) < 300


def test_http_is_taken_where_it_is_allowed() -> None:
    check_target("http://hooks.example.org/", allow_http=True, allowed=())


def test_networks_that_are_allowed_are_let_through_and_no_others() -> None:
    allowed = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/64")]
    for url in ("https://10.1.2.3/", "https://[::ffff:10.1.2.3]/", "https://[fd00::5]/"):
        check_target(url, allow_http=False, allowed=allowed)
    for url in ("https://10.2.0.1/", "https://[fd00:0:0:1::5]/", "https://localhost/"):
        with pytest.raises(InvalidRequest):
            check_target(url, allow_http=False, allowed=allowed)
    check_target(
        "https://localhost/", allow_http=False, allowed=[ipaddress.ip_network("127.0.0.0/8")]
    )


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2a00:1450::1"],
)
def test_public_addresses(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert is_public(address)
    assert is_reachable(address)


def test_the_spec_alone_needs_both_parts() -> None:
    for part in ({"url": URL}, {"secret": SECRET}):
        with pytest.raises(InvalidRequest):
            spec(**part)
    given = WebhookSpec.model_validate_json(orjson.dumps({"url": URL, "secret": SECRET}))
    assert given.secret.get_secret_value() == SECRET
