"""Energy counters through a stand-in for NVML, and retained memory by the page faults of the next allocation."""

from __future__ import annotations

import platform
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lrps.engine.machine import used_joules


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


PROBE = """
import resource, sys
from lrps.engine.machine import retain_host_memory
if sys.argv[1] == "kept": assert retain_host_memory()
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(2**26, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_memory_is_used_again() -> None:
    def later_faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True)
        first, _, last = map(int, done.stdout.split())
        assert first > 10
        return last

    assert later_faults("kept") < later_faults("given back") / 4


GROUPS = """
import resource
import numpy as np
from lrps.engine.deepspeed_engine import process_group
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(2**26, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for retain in (False, True):
    with process_group(retain_memory=retain):
        print("faults", min(faults() for _ in range(3)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_a_process_group_keeps_it_where_it_is_asked_to() -> None:
    done = subprocess.run([sys.executable, "-c", GROUPS], capture_output=True, text=True, check=True)
    given_back, kept = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("faults"))
    assert kept < given_back / 4
