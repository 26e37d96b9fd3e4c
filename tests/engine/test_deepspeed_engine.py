"""The engine on real ranks: what a step computes, what it refuses, what it leaves behind."""

from __future__ import annotations

import inspect

import pytest
from engine.packed_cases import DEPENDING, documents_differ

from lrps.config.models import ModelConfig
from lrps.engine.model import build_model

pytestmark = pytest.mark.slow
WORLDS = (1, 2)
STAGES = ("s0", "s1", "s2", "s3")


@pytest.mark.parametrize("world", WORLDS)
def test_the_loss_of_masked_rows_is_the_mean_over_the_targets_of_all_ranks(matrix, world):
    found = matrix[world]["masked_rows"]
    assert len(found) == 4
    for case, values in found.items():
        for (bare_loss, bare_norm), (loss, norm) in zip(values["bare"], values["ours"], strict=True):
            assert loss == pytest.approx(bare_loss, rel=2e-6), case
            assert norm == pytest.approx(bare_norm, rel=2e-4), case


@pytest.mark.parametrize("world", WORLDS)
def test_steps_equal_a_bare_adamw_loop(matrix, world):
    found = matrix[world]["reference"]
    assert len(found) == 7
    for case, values in found.items():
        tolerance, norm_tolerance, weights = (2e-2, 0.1, 0.07) if "bf16" in case else (2e-6, 2e-4, 2e-4)
        for (bare_loss, bare_norm), (loss, norm) in zip(values["bare"], values["ours"], strict=True):
            assert loss == pytest.approx(bare_loss, rel=tolerance), case
            assert norm == pytest.approx(bare_norm, rel=norm_tolerance), case
        assert values["weights_apart"] < weights, case


@pytest.mark.parametrize("world", WORLDS)
def test_steps_within_documents_equal_a_loop_over_single_documents(matrix, world):
    found = matrix[world]["documents"]
    assert len(found) == 4
    for case, values in found.items():
        for (bare_loss, bare_norm), (loss, norm) in zip(values["bare"], values["ours"], strict=True):
            assert loss == pytest.approx(bare_loss, rel=2e-6), case
            assert norm == pytest.approx(bare_norm, rel=2e-4), case
        expected, mean, tokens = values["evaluation"]
        assert mean == pytest.approx(expected, rel=2e-6), case
        assert tokens == 4 * 15, "the first token of a document is predicted too"
        assert abs(values["across"] - values["ours"][0][0]) > 0.01, "attention across documents is another thing"


@pytest.mark.parametrize("world", WORLDS)
def test_the_model_is_told_nothing_new_where_attention_crosses_documents(matrix, world):
    found = matrix[world]["passed"]
    assert found["None"] == [[0, "input_ids", "labels"]] * 2
    assert found["5"] == [[0, "input_ids", "labels", "position_ids"]] * 2


@pytest.mark.parametrize("kind", DEPENDING)
def test_a_model_that_lets_documents_meet_is_refused(matrix, kind):
    """Which ones do is up to the version of transformers, so the test asks it."""
    model = build_model(ModelConfig(architecture=DEPENDING[kind]), 0).eval()
    told = ""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        told = f"a {kind} model takes no position_ids; leave the key out"
    elif documents_differ(model):
        told = f"a {kind} model lets one document change the next one; leave the key out"
    for world in WORLDS:
        messages = matrix[world]["refusals"][kind]
        assert len(messages) == world
        for message in messages:
            assert message.startswith(f"data.attention_across_documents: {told}") if told else message == "nothing"


@pytest.mark.parametrize("case", ["s1 bf16", "s2 fp32"])
def test_buffers_that_are_ordered_otherwise_than_their_names_are_refused(matrix, case):
    for messages in matrix[2]["refusals"]["misnamed"][case]:
        assert len(messages) == 2
        for message in messages:
            assert "fp32 weights than those of " in message
            assert "Take out what `engine.deepspeed` sets" in message
    assert matrix[1]["refusals"]["misnamed"][case] == [["nothing"]] * 2, "one rank has one order"


@pytest.mark.parametrize("world", WORLDS)
def test_ranks_agree_on_how_the_loss_is_made(matrix, world):
    found = matrix[world]["refusals"]["one rank's logits"]
    assert found["heads"] == ["Linear"] * world
    told = "engine.cross_entropy: a gpt2 model is short of memory; leave the key out, or take full"
    assert found["told"] == [told] * world
    assert found["steps"][0] == found["steps"][1], "few logits: bit for bit either way"


def test_world_size_changes_rounding_only(matrix):
    for case, one in matrix[1]["continuation"].items():
        two = matrix[2]["continuation"][case]
        tolerance = 1e-2 if "bf16" in case else 1e-5
        losses = [[loss for loss, _ in found["straight"]] for found in (one, two)]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance), case


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("where", ["loss", "gradients"])
@pytest.mark.parametrize("case", ["s0 fp32", "s1 fp32", "s2 bf16", "s3 fp32"])
def test_a_nan_on_one_rank_stops_all_and_changes_nothing(matrix, world, where, case):
    found = matrix[world]["non_finite"][f"{case} {where}"]
    told = {"loss": "step 2: the loss is nan", "gradients": "step 2: the loss is finite but its gradients are not"}
    assert len(found["raised"]) == world
    assert all(message.startswith(told[where]) for message in found["raised"])
    assert found["changed"] == []


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stage", STAGES)
def test_hyperparameters_come_from_the_config_after_a_load(matrix, world, stage):
    found = matrix[world]["groups"][stage]
    assert found["held"] == [[0.25, 0.8, 0.9, 1e-6], [0.0, 0.8, 0.9, 1e-6]]
    assert found["clip"] == 1.0
    assert found["lr"] == [1e-2, 1e-2]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stage", STAGES)
def test_loads_and_updates_wait_once_for_a_copy_of_the_state(matrix, world, stage):
    assert matrix[world]["groups"][stage]["waits"] == ["load", "update"]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stage", ["s0", "s1", "s3"])
def test_evaluation_sums_unequal_shares_and_leaves_no_trace(matrix, world, stage):
    found = matrix[world]["evaluation"][stage]
    loss, tokens = found["sum"]
    assert tokens == 3 * 15
    assert loss == pytest.approx(found["expected"], rel=1e-6)
    assert found["means"][0] == pytest.approx(found["of_rows"], rel=1e-6)
    assert found["means"][1:] == [[]] * (world - 1)
    if world == 2:
        assert found["per_rank"][1] == [0.0, 0]
    assert found["training"]
    assert found["rng_kept"]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stage", ["s0", "s1", "s3"])
def test_one_rank_that_wants_to_stop_is_heard_by_all(matrix, world, stage):
    assert matrix[world]["evaluation"][stage]["stop"] == [[False, True]] * world
    assert matrix[world]["evaluation"][stage]["save_due"] == [[False, True]] * world


@pytest.mark.parametrize("world", WORLDS)
def test_dropout_is_a_function_of_seed_and_step(matrix, world):
    first, again, next_step, other_seed = matrix[world]["dropout"]
    assert first == again
    assert len({first, next_step, other_seed}) == 3


@pytest.mark.parametrize("world", WORLDS)
def test_a_closed_engine_leaves_no_tensors(matrix, world):
    for case, (during, after) in matrix[world]["leaks"].items():
        assert 1e6 < during < 5e7, case
        assert after < 1e4, case


@pytest.mark.parametrize("world", WORLDS)
def test_a_batch_that_does_not_divide_is_refused(matrix, world):
    messages = matrix[world]["refusals"]["indivisible"]
    told = "5 sequences each, which batch.micro_sequences 2" if world == 1 else "5 does not divide over 2 processes"
    assert len(messages) == world
    assert all(told in message for message in messages)
