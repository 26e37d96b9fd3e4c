"""Every kind of optimizer: its state is described, saved and continued to the bit, in an engine without DeepSpeed."""

from __future__ import annotations

import pytest
import torch

from lrps.base.errors import CheckpointError
from lrps.config.optimizing import BUILTIN
from lrps.engine.fragments import own_fragments, read_fragments
from lrps.engine.optimizers.kinds import optimizer_kind, optimizer_of
from lrps.engine.state_files.reading import SavedState
from lrps.paths.optimizer_states import _STATES, AVERAGE
from lrps.store.fragments.opening import index_in
from support.assembled_state import write_alone
from support.plain_optimizers import plain_engine, take_steps

KINDS = sorted(BUILTIN)


def load(engine, directory, optimizer="carry"):
    read_fragments(engine, SavedState(directory, index_in(directory)), optimizer)


def values(engine):
    return {(piece.state, piece.name): piece.values.clone() for piece in optimizer_of(engine).pieces()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_after_every_step_is_straight_to_the_bit(kind, tmp_path):
    straight = plain_engine(kind)
    losses = take_steps(straight, range(6))
    for stop in range(6):
        directory = tmp_path / str(stop)
        directory.mkdir()
        first, second = plain_engine(kind), plain_engine(kind, seed=9)
        assert take_steps(first, range(stop)) == losses[:stop]
        write_alone(own_fragments(first), directory)
        load(second, directory)
        assert take_steps(second, range(stop, 6)) == losses[stop:], f"stopped after {stop} steps"
        assert same(values(straight), values(second))
        assert optimizer_of(second).step == optimizer_of(straight).step


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_the_described_ones_and_those_that_the_optimizer_makes(kind):
    made, trained = plain_engine(kind), plain_engine(kind)
    described = {state.name: state for state in optimizer_of(made).states()}
    assert tuple(described.values()) == _STATES[kind]("fp32"), "what forecasts count"
    before = values(made)  # They exist before the first step.
    take_steps(trained, range(1))
    assert before.keys() == values(trained).keys()
    assert all(not state.any() for (name, _), state in before.items() if name in described)
    names = {parameter for parameter, _ in made.module.named_parameters()}
    matrices = {name for name in names if "proj" in name}
    covered = {"all": names, "matrices": matrices, "others": names - matrices}
    for name, state in described.items():
        assert {parameter for own, parameter in before if own == name} == covered[state.applies_to]
    take_steps(made, range(1))
    assert same(values(made), values(trained)), "a state made before changes nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_keeps_weights_and_forgets_the_rest(kind, tmp_path):
    trained, fresh = plain_engine(kind), plain_engine(kind, seed=9)
    take_steps(trained, range(3))
    take_steps(fresh, range(2))
    write_alone(own_fragments(trained), tmp_path)
    load(fresh, tmp_path, "reset")
    found, expected = values(fresh), values(trained)
    assert all(torch.equal(found[key], expected[key]) for key in found if key[0] == "fp32")
    assert not any(state.any() for (name, _), state in found.items() if name != "fp32")
    assert optimizer_of(fresh).step == 0


@pytest.mark.parametrize(("kind", "other"), [(one, two) for one in KINDS for two in KINDS if one != two])
def test_a_state_of_another_kind_gives_its_weights_only(kind, other, tmp_path):
    trained, target = plain_engine(other), plain_engine(kind, seed=9)
    take_steps(trained, range(2))
    write_alone(own_fragments(trained), tmp_path)
    if not {*_STATES[kind]("fp32")} <= {*_STATES[other]("fp32")}:
        with pytest.raises(CheckpointError, match="lacks elements"):
            load(target, tmp_path)
    load(target, tmp_path, "reset")
    assert all(torch.equal(values(target)[key], each) for key, each in values(trained).items() if key[0] == "fp32")


@pytest.mark.parametrize("kind", KINDS)
def test_an_average_begins_as_the_weights_beside_every_kind(kind):
    engine = plain_engine(kind)
    optimizer_of(engine).begin(AVERAGE)
    found = values(engine)
    assert all(torch.equal(found["ema", name], found["fp32", name]) for state, name in found if state == "ema")
    assert AVERAGE in optimizer_of(engine).states()
    alone = plain_engine(kind)
    assert take_steps(engine, range(3)) == take_steps(alone, range(3))


def test_an_optimizer_of_no_kind_is_refused():
    engine = plain_engine("adamw")
    engine.optimizer = torch.optim.SGD(engine.module.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="no kind of optimizer makes SGD"):
        optimizer_of(engine)


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_has_a_kind(kind):
    assert issubclass(optimizer_kind(kind).torch_class, torch.optim.Optimizer)
