"""A folder goes into a bucket and comes out again; what is there already is left alone."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from minio import Minio

from jobs.errors import InvalidRequest
from jobs.settings import Settings
from server.cli import main
from server.mirroring import Mirrored, get_folder, put_folder
from storage.objects import PART_BYTES, ObjectStore


@pytest.fixture
def store(settings_env: dict[str, str]) -> ObjectStore:
    return ObjectStore.connect(Settings.from_environment(settings_env))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "reviews"
    (made / "2026/ä").mkdir(parents=True)
    (made / "a.txt").write_text("one")
    (made / "2026/ä/b.jsonl").write_text("{}\n")
    (made / "2026/large.bin").write_bytes(os.urandom(PART_BYTES + 5))
    os.utime(made / "2026/large.bin", (time.time() - 60, time.time() - 60))
    (made / ".hidden").write_text("no")
    (made / ".git").mkdir()
    (made / ".git/config").write_text("no")
    (made / "link").symlink_to(tmp_path)
    return made


def tell(done: int, total: int) -> None:
    assert 0 <= done <= total


def put(store: ObjectStore, folder: Path, *, remove: bool = False) -> Mirrored:
    return put_folder(store, folder, "in/", remove=remove, tell=tell)


def test_only_what_is_new_or_other_is_sent_and_fetched(
    store: ObjectStore, folder: Path, tmp_path: Path
) -> None:
    assert put(store, folder) == Mirrored(sent=3, same=0, removed=0)
    assert put(store, folder) == Mirrored(sent=0, same=3, removed=0)
    names = [info.name for info in store.list("in/")]
    assert names == ["in/2026/large.bin", "in/2026/ä/b.jsonl", "in/a.txt"]
    out = tmp_path / "out"
    assert get_folder(store, "in/", out, tell=tell).sent == 3
    assert get_folder(store, "in/", out, tell=tell) == Mirrored(sent=0, same=3, removed=0)
    large = "2026/large.bin"
    assert (out / large).read_bytes() == (folder / large).read_bytes()
    # The same length, so that only its content tells; and one that came in parts, whose ETag does not.
    (folder / "a.txt").write_text("two")
    changed = bytearray((folder / large).read_bytes())
    changed[0] ^= 1
    (folder / large).write_bytes(changed)
    os.utime(folder / large, (time.time() + 5, time.time() + 5))
    assert put(store, folder) == Mirrored(sent=2, same=1, removed=0)
    assert store.get("in/a.txt") == b"two"
    assert store.get("in/2026/large.bin") == changed


def test_what_is_no_file_is_removed_only_when_asked(store: ObjectStore, folder: Path) -> None:
    put(store, folder)
    store.put("other/kept", b"")
    (folder / "a.txt").unlink()
    assert put(store, folder).removed == 0
    assert put(store, folder, remove=True).removed == 1
    assert not store.exists("in/a.txt")
    assert store.exists("other/kept")


@pytest.mark.parametrize("name", ["in/../../evil", "in//evil", "in/a\\b"])
def test_no_object_is_fetched_to_outside_of_the_folder(
    store: ObjectStore, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The embedded store would clean such a name when it is written; others keep it.
    store.put("in/good", b"")
    (good,) = store.list("in/")
    bad = type(good)(name=name, size=0, etag=good.etag, modified=None, metadata={})
    monkeypatch.setattr(store, "list", lambda _prefix: iter([good, bad]))
    with pytest.raises(InvalidRequest, match="name"):
        get_folder(store, "in/", tmp_path / "out", tell=tell)
    assert not (tmp_path / "out").exists()


def test_the_commands(
    minio: Minio, settings_env: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    bucket = f"corpora-{secrets.token_hex(4)}"
    run = CliRunner(env=settings_env).invoke
    sent = run(main, ["corpora", "put", str(folder), f"s3://{bucket}/x/"])
    assert (sent.exit_code, sent.output) == (0, "3 sent, 0 unchanged\n")
    fetched = run(main, ["corpora", "get", f"s3://{bucket}/x/", str(tmp_path / "out")])
    assert (fetched.exit_code, fetched.output) == (0, "3 fetched, 0 unchanged\n")
    assert (tmp_path / "out/a.txt").read_text() == "one"
    own = settings_env["TEXTMILL_S3_BUCKET"]
    for args, reason in [
        (["put", str(folder), f"s3://{own}/x/"], "Textmill's own bucket"),
        (["put", str(folder), f"s3://{bucket}/x"], "with a / at its end"),
        (["put", str(folder), f"{bucket}/x/"], "expected s3://bucket/prefix/"),
        (["get", f"s3://{bucket}/nothing/", str(tmp_path / "no")], "nothing lies at"),
        (["get", "s3://nowhere-at-all/x/", str(tmp_path / "no")], "nothing lies at"),
        (["get", f"s3://{bucket}/x/", str(tmp_path / "out/a.txt/below")], "not a directory"),
    ]:
        refused = run(main, ["corpora", *args])
        assert refused.exit_code in (1, 2), refused.output
        assert reason in refused.output
    for info in list(minio.list_objects(bucket, recursive=True)):
        minio.remove_object(bucket, info.object_name or "")
    minio.remove_bucket(bucket)
