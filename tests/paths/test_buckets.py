"""Default buckets that sum gradients in another order than those of earlier versions."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.config.models import EngineConfig
from lrps.paths.buckets import changed_sums

SMALL, LARGE = 10**8, 10**9


@pytest.mark.parametrize(
    ("stage", "parameters", "processes", "on_gpu", "expected"),
    [
        (1, LARGE, 3, False, {}),
        (1, LARGE, 1, True, {}),
        (1, LARGE, 2, True, {}),
        (0, LARGE, 3, True, {}),
        (1, SMALL, 3, True, {"overlap_comm": True}),
        (2, LARGE, 8, True, {"overlap_comm": True, "reduce_bucket_size": 2 * 10**8}),
        (3, SMALL, 8, True, {}),
        (3, LARGE, 8, True, {"reduce_bucket_size": 2 * 10**8}),
    ],
)
def test_only_sums_of_several_gpus_have_changed(
    stage: Any, parameters: int, processes: int, on_gpu: bool, expected: dict[str, Any]
) -> None:
    assert changed_sums(EngineConfig(zero_stage=stage), parameters, processes, on_gpu) == expected
