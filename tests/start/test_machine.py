from __future__ import annotations

import pytest

from lrps.start.machine import Machine, machine_of


@pytest.mark.parametrize(
    ("names", "machine"),
    [
        ("", Machine("cpu", 1)),
        ("NVIDIA H100 80GB HBM3\n" * 8, Machine("H100", 8)),
        ("NVIDIA H100 PCIe\n", Machine("H100-PCIe", 1)),
        ("NVIDIA A100-SXM4-40GB\nNVIDIA A100-SXM4-40GB\n", Machine("A100", 2)),
        ("NVIDIA H200\nTesla T4\n", Machine("H200", 1)),
        ("Tesla V100-SXM2-16GB\n", Machine("Tesla V100-SXM2-16GB", 1)),
    ],
)
def test_the_gpus_of_a_machine_by_their_product_names(names: str, machine: Machine) -> None:
    assert machine_of(names) == machine
    assert machine.computes_in_bf16 == (machine.device not in ("cpu", "Tesla V100-SXM2-16GB"))
