"""Freed memory stays with the process: seen by the page faults of the next allocation."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
from lrps.engine.host_memory import retain_host_memory
if sys.argv[1] == "kept": assert retain_host_memory()
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(2**26, 1, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
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
for keep in (False, True):
    with process_group(keep_memory=keep):
        print("faults", min(faults() for _ in range(3)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_process_group_keeps_it_where_it_is_asked_to() -> None:
    done = subprocess.run([sys.executable, "-c", GROUPS], capture_output=True, text=True, check=True)
    given_back, kept = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("faults"))
    assert kept < given_back / 4
