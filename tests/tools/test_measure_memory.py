"""How tools/measure_memory.py plans and counts; tests/paths/test_memory.py measures one real engine with it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def tools(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "tools"))


def test_the_cases_are_configs_with_a_forecast() -> None:
    from measure_memory import cases
    from measure_memory_worker import SHAPES, Case

    for on_gpu, sizes in ((False, ["1M", "gpt2"]), (True, ["125M", "1.2B"])):
        planned = cases(argparse.Namespace(ranks=[1, 2], sizes=sizes), on_gpu)
        assert len(planned) == len(set(planned)) == 2 * 2 * 4 * (3 if on_gpu else 7)
        assert {(case.ranks, case.zero) for case in planned} == {(r, z) for r in (1, 2) for z in range(on_gpu, 4)}
        assert all(case.forecast(on_gpu) > 0 for case in planned)
    config = Case("1M", 2, 3, "bf16", 4, 2, 128, checkpointing=True).config()
    assert (config.batch.sequences, config.batch.micro_sequences, config.engine.zero_stage) == (16, 4, 3)
    assert {"125M", "350M", "1.2B"} <= SHAPES.keys()


def test_an_unknown_size_is_refused() -> None:
    from measure_memory import _names

    with pytest.raises(argparse.ArgumentTypeError, match="9T: no such size"):
        _names("1M,9T")


def test_live_bytes_end_with_their_tensors() -> None:
    from live_bytes import LiveBytes

    with LiveBytes() as live:
        one = torch.zeros(1000)
        view = one.view(10, 100)[2:]
        assert live.now == 4000
        two = one + 1
        assert live.now == live.peak == 8000
        del one, two
        assert live.now == 4000, "a view holds the storage"
        live.reset()
        assert live.peak == 4000
        del view
        assert (live.now, live.peak) == (0, 4000)
