"""Models built unit by unit under real DeepSpeed: the same weights in every topology (matrix_worker.py)."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.slow
def test_every_topology_begins_with_the_same_weights_and_buffers_bit_for_bit(matrix: dict[int, Any]) -> None:
    found = {(world, case): each for world in (1, 2) for case, each in matrix[world]["save_all"].items()}
    assert len(found) == 20
    for kind, precision in (("llama", "fp32"), ("llama", "bf16"), ("gpt2", "fp32")):
        alike = [each for (_, case), each in found.items() if case.startswith(kind) and case.endswith(precision)]
        assert len(alike) >= 4
        assert len({each["weights"] for each in alike}) == 1
        assert len({buffers for each in alike for buffers in each["buffers"]}) == 1
    assert len({each["weights"] for each in found.values()}) == 4
