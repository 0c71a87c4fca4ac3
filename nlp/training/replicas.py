"""Copies of one model that learn together, one in each process: what they tell one another, through accelerate.

Each takes its share of the rows of every batch. Gradients are sums over rows, so those of the whole batch are the sum
of all shares; every copy takes the same step then, and the copies stay the same to the last bit. They are added once a
step, behind the last of its batches, which is why nothing here wraps the model: tasks call it as they like, parameters
that a batch does not reach need no care, and with one process nothing is different.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor, nn

from jobs.devices import Device
from jobs.training import Ranks
from nlp.batching import is_out_of_memory
from nlp.training.ranks import RankLost

#: Numbers of gradients that are added together: 64 MiB of them.
_BUCKET = 16 << 20

#: How long one process waits for another: as long as an evaluation may take. A process that died is seen by whoever
#: started it, and one that hangs makes the others silent, which the worker sees; neither is waited for so long.
_WAIT = timedelta(days=7)


class Replicas:
    """All copies, as one of them sees them. Every method is called by all of them, in the same order."""

    def __init__(self, ranks: Ranks, device: Device) -> None:
        self.rank, self.count, self.leads = ranks.rank, ranks.count, ranks.leads
        self._device = device.torch_name

    @classmethod
    @contextmanager
    def joined(cls, ranks: Ranks, device: Device) -> Iterator[Self]:
        """Meet the others.

        Raises:
            RankLost: one of them is gone.
        """
        if ranks.meeting is None:
            yield cls(ranks, device)
            return
        with _lost():
            _meet(ranks, ranks.meeting, device)
        yield cls(ranks, device)
        # Not where it fails: then the process ends, and with it all others.
        torch.distributed.destroy_process_group()

    def share(self, batch: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """This copy's rows of a batch: short and long ones alike, for batches are in order of length. May be none."""
        return batch[self.rank :: self.count]

    def summed(self, values: Sequence[float]) -> list[float]:
        """Numbers added up over all copies, each by itself."""
        if self.count == 1:
            return list(values)
        return self._added(self._numbers(values)).tolist()

    def told(self, value: int) -> int:
        """What rank 0 has as a value."""
        return round(self.summed([value if self.leads else 0])[0])

    def follow(self, parameters: Sequence[nn.Parameter]) -> None:
        """Begin with rank 0's weights."""
        if self.count == 1:
            return
        from accelerate.utils import broadcast  # noqa: PLC0415  (slow to import, and for several only)

        with _lost(), torch.no_grad():
            for parameter in parameters:
                parameter.copy_(broadcast(parameter.detach().contiguous()))

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every copy the gradients of all. Those that no copy has stay none, as with one process."""
        if self.count == 1:
            return
        having = self.summed([float(one.grad is not None) for one in parameters])
        wanted = [one for one, count in zip(parameters, having, strict=True) if count]
        for parameter in wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([one.grad for one in wanted if one.grad is not None]):
            whole = self._added(torch.cat([one.reshape(-1) for one in bucket]))
            parts = torch.split(whole, [one.numel() for one in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def _numbers(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self._device)

    @staticmethod
    def _added(tensor: Tensor) -> Tensor:
        from accelerate.utils import reduce  # noqa: PLC0415

        with _lost():
            added: Tensor = reduce(tensor, reduction="sum")
            return added


def _meet(ranks: Ranks, meeting: Path, device: Device) -> None:
    """Make the process group, and accelerate's state of it. Nothing of it is reachable from other hosts."""
    from accelerate import PartialState  # noqa: PLC0415

    loopback = _loopback()
    os.environ |= {
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        # Where accelerate looks.
        "RANK": str(ranks.rank),
        "LOCAL_RANK": str(ranks.rank),
        "WORLD_SIZE": str(ranks.count),
        "LOCAL_WORLD_SIZE": str(ranks.count),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    on_cpu = device.type == "cpu"
    if not on_cpu:
        _spare_old_links()
    PartialState(
        cpu=on_cpu,
        backend="gloo" if on_cpu else "nccl",
        init_method=f"file://{meeting / 'store'}",
        rank=ranks.rank,
        world_size=ranks.count,
        timeout=_WAIT,
    )


def _spare_old_links() -> None:
    """Cards whose drivers promise links that they have not: accelerate knows them."""
    from accelerate.utils import check_cuda_p2p_ib_support  # noqa: PLC0415

    if not check_cuda_p2p_ib_support():
        os.environ |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}


def _loopback() -> str:
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == "127.0.0.1" for one in addresses):
            return name
    return "lo"


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and size + gradient.numel() > _BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel()
    if bucket:
        yield bucket


@contextmanager
def _lost() -> Iterator[None]:
    """Tell what comes of a process that is gone from what is this one's own fault."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise RankLost(str(error)) from error
