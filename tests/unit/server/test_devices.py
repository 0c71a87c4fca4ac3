"""Which devices a host offers, with an NVML of four GPUs, one of them in two MIG slices."""

from __future__ import annotations

import orjson
import psutil
import pytest
from structlog.testing import capture_logs

from jobs.devices import Device
from jobs.errors import InvalidRequest
from jobs.settings import Settings
from server.devices import find_devices
from server.roles.worker import device_environment
from tests.unit.server.fakes import plugin
from workers import nvml
from workers.gauge import Gauge

GPUS = [f"GPU-{number}0000000-1111-2222-3333-444444444444" for number in range(4)]
SLICES = [f"MIG-{place}0000000-aaaa-bbbb-cccc-000000000002" for place in range(2)]
ALL = [*GPUS[:2], *SLICES, GPUS[3]]
GIB = 1 << 30


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "pynvml", plugin("fake_nvml/pynvml.py"))
    monkeypatch.delenv("FAKE_NVML", raising=False)


def uuids(wanted: str, visible: str | None = None) -> list[str | None]:
    return [device.uuid for device in find_devices(wanted, visible)]


def refusal(wanted: str, visible: str | None = None) -> str:
    with pytest.raises(InvalidRequest) as caught:
        find_devices(wanted, visible)
    assert caught.value.fields[0].field == "devices"
    return caught.value.detail


def test_every_gpu_and_every_slice_but_never_the_gpu_that_is_cut() -> None:
    found = find_devices("auto")
    assert [device.uuid for device in found] == ALL
    assert [device.memory_bytes // GIB for device in found] == [80, 80, 40, 20, 80]
    assert {device.type for device in found} == {"cuda"}
    assert [found[2].name, found[4].name] == [
        "NVIDIA H100 80GB HBM3 MIG 4g.40gb",
        "NVIDIA H100 80GB HBM3",
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("cuda", ALL),
        ("cuda:0", [GPUS[0]]),
        ("3, 0", [GPUS[3], GPUS[0]]),
        ("cuda:2", SLICES),
        ("cuda:2:1", [SLICES[1]]),
        ("GPU-3", [GPUS[3]]),
        ("gpu-2", SLICES),
        ("MIG-1", [SLICES[1]]),
        (SLICES[0], [SLICES[0]]),
        ("cpu,cuda:1", [None, GPUS[1]]),
    ],
)
def test_devices_by_name(wanted: str, expected: list[str | None]) -> None:
    assert uuids(wanted) == expected


@pytest.mark.parametrize(
    "wanted",
    [
        "cuda:4",
        "cuda:0:0",
        "cuda:2:2",
        "GPU-",
        "GPU-9",
        "MIG-7",
        "tpu",
        "cuda:x",
        "",
        "cuda:0,,cpu",
    ],
)
def test_what_is_not_there_is_refused_with_what_is(wanted: str) -> None:
    said = refusal(wanted)
    assert "expected auto, cpu, or a comma list" in said or all(
        text in said for text in ("cuda:0 (NVIDIA H100", "cuda:2:1", SLICES[0], GPUS[3])
    )


@pytest.mark.parametrize("wanted", ["cuda:0,cuda:0", "auto,cuda:2:0", "GPU-0,0", "cpu,cpu"])
def test_a_device_is_named_once(wanted: str) -> None:
    assert "named twice" in refusal(wanted)


def test_workers_that_share_a_device_share_its_memory() -> None:
    first, second, third = find_devices("cuda:0*2,cuda:2:1")
    assert first == second
    assert (first.uuid, first.memory_bytes, first.share) == (GPUS[0], 40 * GIB, 0.5)
    assert (third.uuid, third.memory_bytes, third.share) == (SLICES[1], 20 * GIB, 1.0)
    assert len(find_devices("auto*3")) == 15
    halves = find_devices("cpu*2")
    assert [half.memory_bytes for half in halves] == [psutil.virtual_memory().total // 2] * 2
    for wrong in ("cuda:0*0", "cuda:0*", "auto*17", "cuda:0*-1", "cuda:0*two"):
        assert "expected 1 to 16 workers" in refusal(wrong)


def test_one_worker_has_all_devices_with_a_plus_between_them() -> None:
    first, alone = find_devices("cuda:3 + GPU-0, 1")
    assert [(one.uuid, one.torch_name) for one in first.group] == [
        (GPUS[3], "cuda:0"),
        (GPUS[0], "cuda:1"),
    ]
    assert (first.uuid, first.torch_name, alone.uuid, alone.beside) == (
        GPUS[3],
        "cuda:0",
        GPUS[1],
        (),
    )
    (processors,) = find_devices("cpu+cpu+cpu")
    assert [one.torch_name for one in processors.group] == ["cpu"] * 3
    assert alone.group == (alone,)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("cuda:0+cuda:0", "named twice"),
        ("cuda:0+cuda:1,cuda:1", "named twice"),
        ("cpu+cpu,cpu", "named twice"),
        ("cuda:0+cpu", "one type"),
        ("cuda:2:0+cuda:2:1", "slices of a GPU"),
        ("cuda:0+cuda:2", "slices of a GPU"),
        ("cuda:0+cuda:1*2", "expected no *"),
        ("auto+cuda:0", "single devices"),
        ("cuda:0+", "single devices"),
        ("cuda:0+cuda:9", "no such device"),
        ("+".join(["cpu"] * 65), "at most 64"),
    ],
)
def test_devices_that_cannot_train_together_are_refused(wanted: str, words: str) -> None:
    assert words in refusal(wanted)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,3", [GPUS[0], GPUS[3]]),
        ("GPU-1,MIG-1", [GPUS[1], SLICES[1]]),
        ("2", SLICES),
        ("1,9,0", [GPUS[1]]),
        ("-1", [None]),
        ("", [None]),
    ],
)
def test_what_was_hidden_from_this_process_is_not_used(
    visible: str, expected: list[str | None]
) -> None:
    assert uuids("auto", visible) == expected


def test_hidden_devices_cannot_be_asked_for() -> None:
    assert "cuda:1 (NVIDIA H100" in refusal("cuda:0", "1")
    assert uuids("cuda:1", "1") == [GPUS[1]]


def test_a_host_without_a_driver_has_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NVML", "no-driver")
    assert [device.type for device in find_devices("auto")] == ["cpu"]
    assert "cpu and no GPU" in refusal("cuda:0")
    assert "no GPU can be used" in refusal("cuda")


def test_a_driver_that_does_not_work_is_no_silent_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NVML", "mismatch")
    for wanted in ("auto", "cuda:0", "cpu,cuda:0"):
        said = refusal(wanted)
        assert "version mismatch" in said
        assert "--devices cpu" in said
    assert uuids("cpu") == [None]


def test_the_gpus_that_answer_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NVML", "lost:1,empty-mig:3")
    with capture_logs() as logs:
        assert uuids("auto") == [GPUS[0], *SLICES]
    assert [(entry["gpu"], entry["reason"]) for entry in logs] == [
        (1, "GPU is lost"),
        (3, "in MIG mode, without a slice"),
    ]
    assert "does not answer: GPU is lost" in refusal("cuda:1")
    assert "without a slice" in refusal("cuda:3")
    assert "GPU is lost" in refusal("auto", "1")


@pytest.mark.parametrize(
    ("wanted", "visible"), [("cuda:2:1*2", SLICES[1]), ("cuda:1+cuda:0", GPUS[1])]
)
def test_a_worker_is_told_all_of_its_device(wanted: str, visible: str) -> None:
    """But sees no more than it works on by itself: its trainings see the others."""
    device = find_devices(wanted)[0]
    environment = device_environment(Settings.from_environment({}), device)
    assert environment["CUDA_VISIBLE_DEVICES"] == visible
    settings = Settings.from_environment(environment)
    assert settings.device is not None
    assert Device.from_json(orjson.loads(settings.device)) == device


def test_how_a_gpu_and_a_slice_do(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, piece = find_devices("cuda:3,cuda:2:1*2")[:2]
    assert Gauge(gpu).read()["gpu"] == {
        "memory_used_bytes": 4 * GIB,
        "memory_total_bytes": 80 * GIB,
        "utilization_percent": 30,
        "temperature_celsius": 43,
        "share": 1.0,
    }
    gauge = Gauge(piece)
    assert gauge.read()["gpu"] == {
        "memory_used_bytes": 3 * GIB,
        "memory_total_bytes": 20 * GIB,
        "utilization_percent": None,
        "temperature_celsius": 42,
        "share": 0.5,
    }
    monkeypatch.setenv("FAKE_NVML", "lost:2")
    assert gauge.read()["gpu"] is not None, "measured a moment ago"
    monkeypatch.setattr("workers.gauge._FRESH_SECONDS", 0.0)
    gauge = Gauge(piece)
    assert gauge.read()["gpu"] is None
    monkeypatch.setenv("FAKE_NVML", "")
    assert gauge.read()["gpu"] is not None, "it is back"


def test_how_a_worker_on_the_cpu_does() -> None:
    read = Gauge(find_devices("cpu")[0]).read()
    assert list(read) == ["process_bytes"]
    assert read["process_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert list(Gauge(None).read()) == ["process_bytes"]
