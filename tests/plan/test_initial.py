"""What paths without a parent start from: known by what it holds, and told clearly when it is not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lrps.base.errors import CheckpointError, LineageError
from lrps.base.files import atomic_write_json
from lrps.config.models import ModelConfig
from lrps.paths.increments import Increment
from lrps.paths.paradigms.compile import compile_graph
from lrps.plan.initial import initial_checkpoint, initial_weights, with_initial_weights
from lrps.store import checkpoints
from lrps.store.conventions import NEWEST
from lrps.store.identity import check_identity, path_identity, training_digest
from support.values import config_values

ARCHITECTURE = config_values()["model"]["architecture"]


def save(place: Path, step: int, data: bytes = b"weights") -> Path:
    temporary = checkpoints.begin(place, step)
    (temporary / "data").write_bytes(data)
    origin = {"origin": {"tag": "global_step480"}}
    return checkpoints.publish(
        temporary, step, {"data": checkpoints.fsync_and_hash(temporary / "data")}, origin
    ).directory


def model(state: Path | None = None) -> ModelConfig:
    return ModelConfig(architecture=ARCHITECTURE, initial_state=state)


def identity(make_config, state):
    config = make_config(model={"architecture": ARCHITECTURE, "initial_state": state})
    main = compile_graph(config, [Increment("v1", 200, 100)]).by_name["main"]
    return path_identity(main, config, "tok", {}, NEWEST)


def test_the_seed_alone_needs_no_digest():
    assert (initial_checkpoint(model()), initial_weights(model())) == (None, None)


def test_a_state_is_known_by_what_it_holds_wherever_it_lies(tmp_path):
    state = save(tmp_path / "one", 480)
    moved = shutil.copytree(state, tmp_path / "two" / state.name)
    assert initial_weights(model(state)) == initial_weights(model(moved)) is not None
    assert initial_weights(model(save(tmp_path / "three", 480, b"other"))) != initial_weights(model(state))


def test_an_identity_says_what_the_state_says_of_itself(tmp_path, make_config):
    state = save(tmp_path, 480)
    before = identity(make_config, state)
    full = with_initial_weights(before, model(state))
    assert full["training"]["initial_weights"] == initial_weights(model(state))
    assert full["initial_state"] == {"step": 480, "origin": {"tag": "global_step480"}}
    assert (before["training"]["initial_weights"], "initial_state" in before) == (None, False), "it is left as it was"
    assert training_digest(full) == training_digest(before), "checkpoints are checked without reading the state"
    plain = identity(make_config, None)
    assert with_initial_weights(plain, model()) == plain, "directories from before the key stay what they were"
    assert training_digest(plain) != training_digest(before)


def test_a_run_that_began_elsewhere_is_not_one_from_the_seed(tmp_path, make_config):
    state, other = save(tmp_path / "one", 480), save(tmp_path / "two", 480, b"other")
    file = tmp_path / "path.json"
    atomic_write_json(file, with_initial_weights(identity(make_config, state), model(state)))
    check_identity(file, with_initial_weights(identity(make_config, state), model(state)))
    check_identity(file, identity(make_config, state))
    with pytest.raises(LineageError, match="`model.initial_state`: the run was begun with weights with SHA-256"):
        check_identity(file, with_initial_weights(identity(make_config, other), model(other)))
    with pytest.raises(
        LineageError, match="`model.initial_state`: the run was begun with a complete state, the config says none"
    ):
        check_identity(file, identity(make_config, None))


def test_what_is_no_checkpoint_is_told_with_the_way_out(tmp_path):
    state = save(tmp_path / "out", 480)
    with pytest.raises(
        CheckpointError, match=r"model.initial_state: .*out is no checkpoint; did you mean .*step-00000480"
    ):
        initial_checkpoint(model(tmp_path / "out"))
    with pytest.raises(CheckpointError, match="nowhere is no checkpoint; give one that `lrps convert from-universal`"):
        initial_checkpoint(model(tmp_path / "nowhere"))
    (tmp_path / "universal" / "zero").mkdir(parents=True)
    with pytest.raises(
        CheckpointError, match="in DeepSpeed's universal format: convert it with `lrps convert from-universal`"
    ):
        initial_checkpoint(model(tmp_path / "universal"))
    (state / "data").write_bytes(b"weigh")
    with pytest.raises(CheckpointError, match=r"model.initial_state: .*data is missing or not 7 bytes long"):
        initial_checkpoint(model(state))
