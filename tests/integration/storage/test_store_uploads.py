"""Uploads by parts and to presigned URLs: whole or not at all, whatever comes twice, late or at the same time."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import urllib3

from jobs.errors import Conflict, InvalidRequest, NotFound, TextmillError, TooLarge
from jobs.ids import id_ms, new_id
from jobs.names import TenantNames
from jobs.settings import Settings
from jobs.uploads import MAX_PARTS, PART_BYTES, Upload, UploadedPart, part_bytes
from scheduler.sweeper import Sweeper
from storage.broker import Broker
from storage.files import FileRecord, FileTable
from storage.joining import Joining
from storage.ledger import Ledger
from storage.objects import ObjectMissing, ObjectStore
from storage.uploads import DIRECT_BYTES, LIFE, UploadTable

LIMIT = 50 << 30
TENANT = "default"
BLOCK = random.Random(0).randbytes(1 << 20)
MIB = 1 << 20


class Bench:
    """All that has to do with uploads, over one bucket."""

    def __init__(self, store: ObjectStore, limit: int = LIMIT) -> None:
        self.store = store
        self.limit = limit
        self.files = FileTable(store)
        self.uploads = UploadTable(store, self.files)
        self.joining = Joining(store, self.files, self.uploads, limit)

    def begin(self, size: int | None = None, sha256: str | None = None) -> Upload:
        return self.uploads.begin(TENANT, "a.jsonl", size=size, sha256=sha256, limit=self.limit)

    def put(self, upload: Upload, number: int, data: bytes) -> UploadedPart:
        pieces = (data[at : at + MIB] for at in range(0, len(data), MIB))
        return self.uploads.put_part(
            TENANT, upload.id, number, pieces, length=len(data), limit=self.limit
        )

    def filled(self, data: bytes, **given: int | str) -> Upload:
        """An upload all of whose parts have arrived, the last one first."""
        upload = self.uploads.begin(
            TENANT, "a.jsonl", size=None, sha256=str(given.get("sha256") or "") or None, limit=LIMIT
        )
        for at in reversed(range(0, len(data), PART_BYTES)):
            self.put(upload, at // PART_BYTES + 1, data[at : at + PART_BYTES])
        return upload

    def complete(self, upload: Upload, sha256: str | None = None) -> FileRecord:
        return self.joining.complete(TENANT, upload.id, sha256)

    def left(self) -> list[str]:
        """What lies in the store beside the files."""
        return [one.name for one in self.store.list("") if "/files/" not in one.name]


@pytest.fixture
def bench(store: ObjectStore) -> Bench:
    return Bench(store)


def data(size: int) -> bytes:
    """Bytes that differ from each MiB to the next."""
    blocks = (n.to_bytes(8, "big") + BLOCK[8:] for n in range(-(-size // MIB)))
    return b"".join(blocks)[:size]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_parts_in_any_order_make_the_file(bench: Bench) -> None:
    content = data(2 * PART_BYTES + 12_345)
    upload = bench.filled(content)
    shown = bench.uploads.parts(TENANT, upload.id)
    pieces = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)]
    assert [(part.number, part.bytes, part.sha256) for part in shown] == [
        (number, len(piece), sha256(piece)) for number, piece in enumerate(pieces, 1)
    ]
    with pytest.raises(NotFound):
        bench.files.get(TENANT, upload.file_id)
    record = bench.complete(upload, sha256(content))
    assert (record.id, record.filename) == (upload.file_id, "a.jsonl")
    assert (record.bytes, record.sha256) == (len(content), sha256(content))
    assert b"".join(bench.files.content(TENANT, record.id)) == content
    assert bench.left() == []
    assert bench.complete(upload) == record
    with pytest.raises(InvalidRequest):
        bench.complete(upload, "0" * 64)
    bench.files.delete(TENANT, record.id)
    with pytest.raises(NotFound):
        bench.complete(upload)


def test_a_part_that_is_sent_again_replaces_the_one_before(bench: Bench) -> None:
    upload = bench.begin()
    for content in (b"first", b"second", b"last"):
        bench.put(upload, 1, content)
    (part,) = bench.uploads.parts(TENANT, upload.id)
    assert (part.bytes, part.sha256) == (4, sha256(b"last"))
    assert len(list(bench.store.list(TenantNames(TENANT).upload_parts(upload.id)))) == 1
    assert bench.complete(upload).sha256 == sha256(b"last")


def test_a_part_that_is_sent_twice_at_once_is_one_of_both(bench: Bench) -> None:
    upload = bench.begin()
    contents = [bytes([n]) * 100_000 for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda content: bench.put(upload, 1, content), contents))
    (part,) = bench.uploads.parts(TENANT, upload.id)
    record = bench.complete(upload)
    assert record.sha256 == part.sha256
    assert record.sha256 in {sha256(content) for content in contents}


def test_completing_at_once_gives_one_file(bench: Bench) -> None:
    content = data(PART_BYTES + 1)
    upload = bench.filled(content)
    with ThreadPoolExecutor(6) as pool:
        records = list(pool.map(lambda _: bench.complete(upload), range(6)))
    assert {record.id for record in records} == {upload.file_id}
    assert len({record.created_at for record in records}) == 1
    assert bench.files.get(TENANT, upload.file_id) == records[0]
    assert records[0].sha256 == sha256(content)


@pytest.mark.parametrize("step", ["complete_upload", "put_once", "stream", "delete"])
def test_completing_goes_on_after_a_death_at_any_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    content = data(PART_BYTES + 1)
    upload = bench.filled(content)
    real: Callable[..., object] = getattr(ObjectStore, step)

    def dies_afterwards(*given: object, **named: object) -> object:
        real(*given, **named)
        raise SystemExit

    monkeypatch.setattr(ObjectStore, step, dies_afterwards)
    with pytest.raises(SystemExit):
        bench.complete(upload)
    monkeypatch.undo()
    record = bench.complete(upload, sha256(content))
    assert record.sha256 == sha256(content)
    assert bench.files.get(TENANT, upload.file_id) == record
    assert b"".join(bench.files.content(TENANT, record.id)) == content


def test_a_wrong_digest_makes_no_file_and_loses_nothing(bench: Bench) -> None:
    content = data(PART_BYTES + 1)
    upload = bench.filled(content)
    for _ in range(2):
        with pytest.raises(InvalidRequest) as caught:
            bench.complete(upload, "0" * 64)
        assert [field.field for field in caught.value.fields] == ["sha256"]
    assert bench.files.page(TENANT, after=None, limit=10) == ([], False)
    with pytest.raises(Conflict, match="joined"):
        bench.put(upload, 1, content[:PART_BYTES])
    assert bench.complete(upload, sha256(content)).sha256 == sha256(content)
    begun = bench.filled(b"data", sha256="1" * 64)
    with pytest.raises(InvalidRequest):
        bench.complete(begun)


@pytest.mark.parametrize(
    ("size", "number", "length", "fault"),
    [
        (None, 0, 5, InvalidRequest),
        (None, MAX_PARTS + 1, 5, InvalidRequest),
        (None, 10**30, 5, InvalidRequest),
        (None, 1, 0, InvalidRequest),
        (None, 1, PART_BYTES + 1, TooLarge),
        (None, 2, PART_BYTES, TooLarge),
        (PART_BYTES + 5, 1, 5, InvalidRequest),
        (PART_BYTES + 5, 2, 6, InvalidRequest),
        (PART_BYTES + 5, 3, 5, InvalidRequest),
    ],
)
def test_parts_that_cannot_be_are_refused_before_they_are_read(
    store: ObjectStore, size: int | None, number: int, length: int, fault: type[TextmillError]
) -> None:
    bench = Bench(store, limit=PART_BYTES + 5)
    upload = bench.begin(size)

    def unread() -> Iterator[bytes]:
        raise AssertionError
        yield b""

    with pytest.raises(fault):
        bench.uploads.put_part(
            TENANT, upload.id, number, unread(), length=length, limit=bench.limit
        )
    assert bench.uploads.parts(TENANT, upload.id) == []


def test_the_limit_holds_across_parts(store: ObjectStore) -> None:
    bench = Bench(store, limit=PART_BYTES + 5)
    with pytest.raises(TooLarge):
        bench.begin(PART_BYTES + 6)
    upload = bench.begin()
    bench.put(upload, 1, data(PART_BYTES))
    with pytest.raises(TooLarge):
        bench.put(upload, 2, b"123456")
    bench.put(upload, 2, b"12345")
    assert bench.complete(upload).bytes == PART_BYTES + 5


@pytest.mark.parametrize(
    ("size", "parts", "message"),
    [
        (None, {}, "no part"),
        (None, {2: 5}, "not sent: 1"),
        (None, {1: 5, 2: 5}, "part 1 has 5 bytes"),
        (3 * PART_BYTES, {1: PART_BYTES}, "not sent: 2, 3"),
        (6_000 * PART_BYTES, {1: PART_BYTES}, "and 5989 more"),
    ],
)
def test_what_is_not_whole_is_not_joined(
    bench: Bench, size: int | None, parts: dict[int, int], message: str
) -> None:
    upload = bench.begin(size)
    for number, length in parts.items():
        bench.put(upload, number, bytes(length))
    with pytest.raises(Conflict, match=message):
        bench.complete(upload)
    assert len(bench.uploads.parts(TENANT, upload.id)) == len(parts)


def test_a_part_that_breaks_off_is_not_there(bench: Bench) -> None:
    upload = bench.begin()

    def broken() -> Iterator[bytes]:
        yield bytes(MIB)
        raise RuntimeError("the client went away")

    with pytest.raises(RuntimeError, match="went away"):
        bench.uploads.put_part(TENANT, upload.id, 1, broken(), length=2 * MIB, limit=LIMIT)
    assert bench.uploads.parts(TENANT, upload.id) == []
    bench.put(upload, 1, b"whole")
    assert bench.complete(upload).sha256 == sha256(b"whole")


def test_parts_are_as_large_as_ten_thousand_of_them_need() -> None:
    assert part_bytes(1) == PART_BYTES
    assert part_bytes(MAX_PARTS * PART_BYTES) == PART_BYTES
    assert part_bytes(MAX_PARTS * PART_BYTES + 1) == PART_BYTES + MIB
    for size in (50 << 30, 5 << 40):
        assert size <= MAX_PARTS * part_bytes(size)
        assert part_bytes(size) % MIB == 0


def test_an_aborted_upload_is_gone(bench: Bench) -> None:
    upload = bench.filled(data(PART_BYTES + 1))
    bench.uploads.abort(TENANT, upload.id)
    assert list(bench.store.list("")) == []
    for act in (
        lambda: bench.uploads.abort(TENANT, upload.id),
        lambda: bench.complete(upload),
        lambda: bench.put(upload, 1, b"x"),
    ):
        with pytest.raises(NotFound):
            act()


def test_an_upload_that_is_a_file_cannot_be_aborted(bench: Bench) -> None:
    upload = bench.filled(b"data")
    record = bench.complete(upload)
    with pytest.raises(NotFound):
        bench.uploads.abort(TENANT, upload.id)
    assert bench.files.get(TENANT, record.id) == record


def test_abort_and_complete_at_once_leave_a_whole_file_or_none(bench: Bench) -> None:
    for _ in range(8):
        upload = bench.filled(b"data")
        with ThreadPoolExecutor(2) as pool:
            done = pool.submit(bench.complete, upload)
            pool.submit(bench.uploads.abort, TENANT, upload.id).exception()
            done.exception()
        try:
            bench.files.get(TENANT, upload.file_id)
        except NotFound:
            assert not bench.store.exists(TenantNames(TENANT).file_content(upload.file_id))
        else:
            assert b"".join(bench.files.content(TENANT, upload.file_id)) == b"data"


def test_unfinished_uploads_are_listed_newest_first(bench: Bench) -> None:
    ids = [bench.begin().id for _ in range(3)]
    bench.uploads.begin_direct(TENANT, "b", size=None, sha256=None, limit=LIMIT)
    bench.complete(bench.filled(b"done"))
    first, more = bench.uploads.page(TENANT, after=None, limit=2)
    assert ([one.id for one in first], more) == ([ids[2], ids[1]], True)
    rest, more = bench.uploads.page(TENANT, after=ids[1], limit=2)
    assert ([one.id for one in rest], more) == ([ids[0]], False)
    assert bench.uploads.page("other", after=None, limit=2) == ([], False)


@pytest.mark.parametrize("upload_id", ["", "upload_x", "../keys", "upload_" + "0" * 26])
def test_what_is_no_upload(bench: Bench, upload_id: str) -> None:
    with pytest.raises(NotFound):
        bench.uploads.get(TENANT, upload_id)
    with pytest.raises(NotFound):
        bench.joining.complete(TENANT, upload_id)


def test_another_tenants_upload_is_none(bench: Bench) -> None:
    upload = bench.filled(b"data")
    with pytest.raises(NotFound):
        bench.uploads.get("other", upload.id)
    with pytest.raises(NotFound):
        bench.joining.complete("other", upload.id)
    with pytest.raises(NotFound):
        bench.uploads.abort("other", upload.id)


def test_abandoned_uploads_are_swept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = datetime.now(UTC) - LIFE - timedelta(minutes=1)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: int(long_ago.timestamp() * 1e9))
        old, kept = new_id("upload"), new_id("upload")
    assert id_ms(old) == int(long_ago.timestamp() * 1000)
    fresh = bench.filled(b"fresh")
    names = TenantNames(TENANT)

    def aged(upload_id: str, expires_at: datetime) -> Upload:
        content = names.file_content("file_" + upload_id.removeprefix("upload_"))
        record = {
            "id": upload_id,
            "filename": "a.jsonl",
            "bytes": None,
            "sha256": None,
            "part_bytes": PART_BYTES,
            "multipart": bench.store.begin_upload(content, "text/plain"),
            "created_at": long_ago.isoformat(),
            "expires_at": expires_at.isoformat(),
        }
        bench.store.put_json(names.upload_record(upload_id), record)
        return bench.uploads.get(TENANT, upload_id)

    gone = aged(old, long_ago + LIFE)
    bench.put(gone, 1, b"lost")
    # The part has renewed its life; it is abandoned all the same once that is over.
    renewed = bench.uploads.get(TENANT, old)
    assert datetime.fromisoformat(renewed.expires_at) > datetime.now(UTC) + LIFE / 2
    assert bench.uploads.sweep() == 0
    bench.store.put_json(names.upload_record(old), vars(gone))
    aged(kept, datetime.now(UTC) + timedelta(minutes=1))
    assert bench.uploads.sweep() == 1
    with pytest.raises(NotFound):
        bench.uploads.get(TENANT, old)
    assert gone.multipart is not None
    with pytest.raises(ObjectMissing):
        bench.store.upload_part(names.file_content(gone.file_id), gone.multipart, 1, b"x")
    assert not any(old in name for name in bench.left())
    assert bench.uploads.get(TENANT, kept).id == kept
    assert bench.complete(fresh).sha256 == sha256(b"fresh")


# --- to a presigned URL ---------------------------------------------------------------------------


def direct(bench: Bench, **given: int | str | None) -> tuple[Upload, Callable[[bytes], int]]:
    """An upload to a presigned URL, and what puts bytes there; it gives the store's status."""
    size, digest = given.get("size"), given.get("sha256")
    upload, url, headers = bench.uploads.begin_direct(
        TENANT,
        "b.csv",
        size=size if isinstance(size, int) else None,
        sha256=digest if isinstance(digest, str) else None,
        limit=bench.limit,
    )

    def put(content: bytes) -> int:
        with urllib3.PoolManager() as http:
            return http.request("PUT", url, body=content, headers=headers).status

    return upload, put


def test_what_is_put_to_a_presigned_url_becomes_a_file(bench: Bench) -> None:
    content = data(100_000)
    upload, put = direct(bench, size=len(content), sha256=sha256(content))
    with pytest.raises(Conflict, match="nothing was put"):
        bench.complete(upload)
    assert put(content[1:]) == 403  # the store holds the length that was signed
    assert put(content) == 200
    record = bench.complete(upload, sha256(content))
    assert (record.bytes, record.sha256) == (len(content), sha256(content))
    assert (record.id, record.filename) == (upload.id, "b.csv")
    assert put(content[::-1]) == 412  # the same URL cannot change a file
    assert b"".join(bench.files.content(TENANT, record.id)) == content
    assert bench.complete(upload) == record
    assert bench.left() == []


def test_a_presigned_upload_is_judged_when_it_is_completed(store: ObjectStore) -> None:
    bench = Bench(store, limit=10)
    with pytest.raises(TooLarge):
        direct(bench, size=11)
    with pytest.raises(TooLarge, match="by parts"):
        direct(Bench(store), size=DIRECT_BYTES + 1)
    upload, put = direct(bench)
    assert put(b"") == 200
    with pytest.raises(InvalidRequest, match="empty"):
        bench.complete(upload)
    assert put(bytes(11)) == 200
    with pytest.raises(TooLarge):
        bench.complete(upload)
    assert put(bytes(10)) == 200
    with pytest.raises(InvalidRequest):
        bench.complete(upload, "0" * 64)
    assert bench.complete(upload).bytes == 10


def test_presigned_urls_name_the_public_endpoint(settings: Settings) -> None:
    public = settings.model_copy(update={"s3_public_endpoint": "https://files.example.org"})
    store = ObjectStore.connect(public)
    url = store.presigned("GET", "tenants/a/files/b", seconds=60)
    assert url.startswith(f"https://files.example.org/{store.bucket}/tenants/a/files/b?")
    assert settings.s3_secret_key.get_secret_value() not in url
    assert store.in_bucket("other").presigned("GET", "x", seconds=1).startswith("https://files.")
    plain = ObjectStore.connect(settings).presigned("GET", "x", seconds=1)
    assert plain.startswith(settings.s3_endpoint)


def test_a_presigned_url_reads_one_object_for_a_while(store: ObjectStore) -> None:
    store.put("one", b"1")
    store.put("two", b"2")
    query = {"response-content-disposition": 'attachment; filename="a b.txt"'}
    url = store.presigned("GET", "one", seconds=60, query=query)
    with urllib3.PoolManager() as http:
        got = http.request("GET", url)
        assert (got.status, got.data) == (200, b"1")
        assert got.headers["Content-Disposition"] == 'attachment; filename="a b.txt"'
        for wrong in (url.replace("/one?", "/two?"), url.replace("a%20b", "c"), url[:-1]):
            assert http.request("GET", wrong, redirect=False).status in (400, 403)
        assert http.request("PUT", url, body=b"x").status == 403
        short = store.presigned("GET", "one", seconds=1)
        give_up = time.monotonic() + 20
        while http.request("GET", short).status != 403:
            assert time.monotonic() < give_up
            time.sleep(0.2)


def test_the_sweeper_sweeps_uploads(
    bench: Bench, ledger: Ledger, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[object] = []
    sweeper = Sweeper(bench.store, ledger, broker, seconds=1, lease=3)
    monkeypatch.setattr(sweeper._uploads, "sweep", lambda: swept.append("uploads"))
    monkeypatch.setattr(sweeper._replay, "replay", lambda _intents: None)
    monkeypatch.setattr(ledger, "now", lambda: int(time.time() * 1000))
    sweeper._look_back()
    sweeper._look_back()
    assert len(swept) == 1
