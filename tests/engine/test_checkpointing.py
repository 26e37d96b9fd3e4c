"""Saving and loading on real ranks: together or not at all."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow
WORLDS = (1, 2)


@pytest.mark.parametrize("world", WORLDS)
def test_a_full_disk_on_one_rank_fails_on_all_and_leaves_the_old_checkpoint(matrix, world):
    found = matrix[world]["refusals"]
    assert len(found["save"]) == world
    assert all("No space left on device" in message for message in found["save"])
    assert found["left"] == ["step-00000001"]


@pytest.mark.parametrize("world", WORLDS)
def test_a_flipped_byte_is_refused_on_all_ranks(matrix, world):
    found = matrix[world]["refusals"]
    assert len(found["flipped"]) == world
    assert all("is damaged" in message for message in found["flipped"])
    assert found["changed"] == []


@pytest.mark.parametrize("world", WORLDS)
def test_another_models_checkpoint_is_refused_on_all_ranks(matrix, world):
    found = matrix[world]["refusals"]
    assert len(found["other model"]) == world
    assert all("parameter model.embed_tokens.weight is absent there" in message for message in found["other model"])


@pytest.mark.parametrize("world", WORLDS)
def test_identity_holds_the_callers_and_the_engines_facts(matrix, world):
    identity = matrix[world]["refusals"]["identity"]
    assert identity["tokens"] == 64
    assert (identity["step"], identity["world_size"], identity["zero_stage"]) == (1, world, 3)
    assert set(identity["versions"]) == {"torch", "deepspeed", "transformers"}
    assert matrix[world]["refusals"]["state_json"] == identity
