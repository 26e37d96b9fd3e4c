"""Energy counters: what NVML says, or nothing. No GPU here: the library is a stand-in, its answers made up."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lrps.engine.energy import used_joules


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the stand-in answers, and which devices it was asked for."""
    answers: dict[str, Any] = {"millijoules": 5000, "asked": []}

    def energy(handle: str) -> int:
        answers["asked"].append(handle)
        if isinstance(answers["millijoules"], Exception):
            raise answers["millijoules"]
        return int(answers["millijoules"])

    library = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"0000-{device.index}")
    )
    return answers


def test_a_cpu_counts_nothing() -> None:
    assert used_joules(torch.device("cpu")) is None


def test_the_counter_of_this_very_device(nvml: dict[str, Any]) -> None:
    assert used_joules(torch.device("cuda", 3)) == 5.0
    assert nvml["asked"] == ["GPU-0000-3"]


def test_a_device_without_a_counter_is_not_measured(nvml: dict[str, Any]) -> None:
    nvml["millijoules"] = RuntimeError("not supported")
    assert used_joules(torch.device("cuda", 0)) is None


def test_without_the_package_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert used_joules(torch.device("cuda", 0)) is None
