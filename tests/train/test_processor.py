from __future__ import annotations

from pathlib import Path

import torch

from lrps.train.processor import processor_facts


def test_a_processor_is_named_by_its_model_instructions_and_threads(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: A Processor @ 2 GHz\nflags\t: a b\n\nmodel name\t: another\n")
    (found,) = processor_facts("cpu", cpuinfo).values()
    assert found == {
        "model": "A Processor @ 2 GHz",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def test_without_the_file_of_linux_the_platform_names_it(tmp_path: Path) -> None:
    (found,) = processor_facts("cpu", tmp_path / "missing").values()
    assert found["model"]


def test_a_gpu_is_described_by_its_own_name() -> None:
    assert processor_facts("NVIDIA H200") == {}
