"""Muon and Lion under DeepSpeed on real ranks: bitwise continuation, elastic states, norms, and dropped steps."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def check_laws(found, topology):
    case = found[topology]
    assert len(case["straight"]) == 3
    assert case["resumed"] == case["straight"], topology
    assert case["different"] == [], topology


def test_two_ranks_continue_muon_to_the_bit(quick_optimizers):
    found = quick_optimizers
    for topology in ("muon s1 fp32", "muon s3 bf16"):
        check_laws(found, topology)
    assert found["muon s1 fp32"]["copies"] >= 1, "a matrix at the border of two ranks is written once"
    (_, norm), (loss, expected) = found["muon s1 fp32"]["first"][0], found["adamw"]["first"][0]
    assert norm == pytest.approx(expected, rel=1e-5), "the norm of the gradients, not that of the update"
    assert found["muon s1 fp32"]["first"][0][0] == loss


@pytest.mark.long
@pytest.mark.parametrize("world", [1, 2])
def test_every_topology_continues_to_the_bit(all_optimizers, world):
    found = all_optimizers[f"save-{world}"]
    assert len(found) == 8
    for topology in found.keys() - {"adamw"}:
        check_laws(found, topology)
        assert found[topology]["first"][0][1] == pytest.approx(found["adamw"]["first"][0][1], rel=2e-2), topology


@pytest.mark.long
@pytest.mark.parametrize("world", [1, 2])
def test_a_state_of_other_ranks_and_another_stage_is_loaded_exactly_and_continued(all_optimizers, world):
    for topology, found in all_optimizers[f"load-{world}"].items():
        assert found["different"] == [], topology
        straight = all_optimizers[f"save-{world}"][f"{topology} fp32"]["straight"]
        assert [loss for loss, _ in found["losses"]] == pytest.approx([loss for loss, _ in straight], abs=2e-3), (
            topology
        )


@pytest.mark.long
@pytest.mark.parametrize("world", [1, 2])
def test_a_dropped_step_leaves_the_momentum_alone_and_matrices_are_not_clipped(all_optimizers, world):
    for topology, found in all_optimizers[f"gate-{world}"].items():
        assert found["judged"] == found["never"], topology
        assert len(found["asked"][0]) == 5
        clipped = found["clipped"]
        assert clipped["matrices"] == 14
        assert clipped["unequal matrices"] == []
        assert clipped["norm"] == pytest.approx(0.05, rel=1e-2), "AdamW's first moments are a tenth of the gradients"
