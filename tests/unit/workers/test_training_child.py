"""The processes of a training end with whoever started them, whatever ends that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

#: Starts a training on three devices, tells the processes, and has no time to tidy up.
STARTER = """
import sys, time
from pathlib import Path
import psutil
from jobs.devices import Device
from nlp.training.process import TrainingTask
from workers.training_child import TrainingChild

folder = Path(sys.argv[1])
(folder / "rows").touch()
cpu = Device(type="cpu", name="cpu")
task = TrainingTask(
    kind="tests.plugins.sums_kind:Sums",
    params={"output_name": "added", "hang_at": 0},
    device=cpu.joined([cpu, cpu]),
    base=None, reference="scratch:sums", data={"input": str(folder / "rows")}, source="job:1",
    product=str(folder), scratch=str(folder), resume=None,
)
child = TrainingChild(task)
while len(ranks := psutil.Process(child.pid).children()) < 2:
    time.sleep(0.01)
print(child.pid, *(rank.pid for rank in ranks), flush=True)
time.sleep(3600)
"""


def test_all_processes_of_a_training_end_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as worker:
        assert worker.stdout is not None
        training = [psutil.Process(int(pid)) for pid in worker.stdout.readline().split()]
        assert len(training) == 3
        worker.kill()
        _, left = psutil.wait_procs(training, timeout=10)
    assert left == []
