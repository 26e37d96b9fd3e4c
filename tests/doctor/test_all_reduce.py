"""All-reduces that are right, and ones that are not."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from lrps.doctor import all_reduce
from lrps.engine.deepspeed_engine import process_group

CPU = torch.device("cpu")


def test_bus_bandwidth_is_that_of_nccl_tests() -> None:
    assert all_reduce.bus_bandwidth(8_000, 2.0, 4) == 8_000 / 2 * 2 * 3 / 4
    assert all_reduce.bus_bandwidth(8_000, 2.0, 1) is None


def test_one_rank_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with process_group():
        found = all_reduce.measure(CPU, (4000, 8000))
        assert found.right
        assert [(speed.bytes, speed.bus_bytes_per_second) for speed in found.speeds] == [(4000, None), (8000, None)]
        real = dist.all_reduce

        def wrong(tensor: torch.Tensor, *arguments: object) -> None:
            real(tensor, *arguments)
            if tensor.numel() == 2000:
                tensor[-1] += 1

        monkeypatch.setattr(dist, "all_reduce", wrong)
        assert not all_reduce.measure(CPU, (4000, 8000)).right
