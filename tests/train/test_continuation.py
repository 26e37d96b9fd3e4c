"""What is said when a state is continued by another engine."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.train.continuation import changed_engine

SAVED: dict[str, Any] = {"plan": "small", "world_size": 2, "zero_stage": 1, "precision": "bf16"}


@pytest.mark.parametrize(
    ("saved", "now", "words"),
    [
        ({}, {}, None),
        ({"deepspeed": {"offload_optimizer": "cpu"}}, {"deepspeed": {"offload_optimizer": "cpu"}}, None),
        ({}, {"versions": {"torch": "3"}, "precision": "bf16"}, None),
        ({}, {"zero_stage": 3}, "trained with engine.zero_stage 1, now 3. The state is read exactly, but"),
        ({}, {"world_size": 4, "zero_stage": 2}, "trained with processes 2, now 4; engine.zero_stage 1, now 2. The"),
        ({}, {"deepspeed": {"overlap_comm": True}}, "with engine.deepspeed: overlap_comm false, now true. The"),
        ({"zero_stage": 3}, {"zero_stage": 3, "deepspeed": {"overlap_comm": True}}, None),
        ({}, {"deepspeed": {"overlap_comm": False, "reduce_bucket_size": 5 * 10**8}}, None),
        ({}, {"deepspeed": {"reduce_bucket_size": 7}}, "engine.deepspeed: reduce_bucket_size 500000000, now 7. The"),
        ({}, {"world_size": 4, "deepspeed": {"overlap_comm": True}}, "trained with processes 2, now 4. The"),
        ({"versions": {"torch": "3"}}, {"versions": {"torch": "3", "deepspeed": "1"}}, None),
        ({"versions": {"torch": "2", "x": "1"}}, {"versions": {"torch": "3"}}, "trained with torch 2, now 3. The"),
        ({"sequence_parallel": 2}, {"sequence_parallel": 2}, None),
        ({"sequence_parallel": 2}, {}, "trained with engine.sequence_parallel 2, now 1. The state is read exactly"),
        ({}, {"sequence_parallel": 4}, "trained with engine.sequence_parallel 1, now 4. The"),
        ({"deepspeed": {"offload_optimizer": "cpu"}}, {}, "engine.deepspeed: offload_optimizer cpu, now not given. T"),
    ],
)
def test_a_change_that_changes_last_digits_is_named(saved: dict[str, Any], now: dict[str, Any], words: str) -> None:
    found = changed_engine({**SAVED, **saved}, {**SAVED, **now})
    assert found is None if words is None else found is not None and words in found


def test_the_state_of_another_program_has_no_such_facts() -> None:
    assert changed_engine({}, {**SAVED, "sequence_parallel": 2}) is None
