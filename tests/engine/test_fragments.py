"""State in fragments: exact into every topology, bitwise continuation, and clear refusals."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lrps.base.errors import CheckpointError
from lrps.base.files import sha256_file
from lrps.engine.fragments import own_fragments, read_fragments
from lrps.engine.state_files.reading import SavedState
from lrps.store.fragments.index import file_name
from lrps.store.fragments.opening import index_in
from lrps.store.segments import FileSegment
from support.assembled_state import assembled, write_alone
from support.first_fragments import write_first_fragments

WORLDS = (1, 2)


def assert_exact(pairs):
    assert {name: differs for name, (differs, _) in pairs.items() if differs} == {}
    assert {name: off for name, (_, off) in pairs.items() if off > 1e-6} == {}, "forward uses other weights"


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_every_topology_is_loaded_by_others_exactly(matrix, world):
    pairs = matrix[world]["load_some"]
    assert len(pairs) == 2 * (7 + 3)
    assert_exact(pairs)


@pytest.mark.long
@pytest.mark.parametrize("world", WORLDS)
def test_every_topology_loads_every_other_one_exactly(every_load, world):
    pairs = every_load[world]["load_all"]
    assert len(pairs) == 2 * (7 * 7 + 3 * 3)
    assert_exact(pairs)


@pytest.mark.slow
def test_two_ranks_become_one_and_then_four_exactly(elastic):
    for stage, found in elastic.items():
        assert found["different"] == [], f"weights or moments, on four ranks of {stage}"
        assert found["adam_step"] == 3.0
        assert found["files"] == [file_name(0, 2), file_name(1, 2), "index.json", "state.json"]
    assert elastic["s3"]["step"][0] == pytest.approx(elastic["s1"]["step"][0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", ["s0 fp32", "s1 fp32", "s3 fp32", "s2 bf16"])
def test_same_topology_goes_on_bit_for_bit(matrix, world, case):
    found = matrix[world]["continuation"][case]
    assert len(found["straight"]) == 3
    assert found["resumed"] == found["resumed from the first format"] == found["straight"]
    assert found["different"] == [False, False], "weights and moments"
    assert found["formats"] == ["lrps-checkpoint/1", "lrps-checkpoint/2"]


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_reset_keeps_weights_and_forgets_the_optimizer(matrix, world, stage):
    found = matrix[world]["reset"][f"s{stage}"]
    assert found["weights"] == []
    assert found["moments"] == []
    assert found["trace"] < 1e-9
    assert found["adam_step"] == 0.0


# A stand-in for DeepSpeed at stage 0, where the engine holds a plain torch optimizer.


def plain_engine(seed=0, width=5, steps=2):
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 2, bias=False))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    for _ in range(steps):
        module(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return SimpleNamespace(module=module, optimizer=optimizer, zero_optimization_stage=lambda: 0)


def state(engine):
    adam = engine.optimizer.state
    return {
        name: (p.detach().clone(), adam[p]["exp_avg"].clone(), adam[p]["exp_avg_sq"].clone(), float(adam[p]["step"]))
        for name, p in engine.module.named_parameters()
    }


def same(one, other):
    return all(
        all(torch.equal(a, b) for a, b in zip(one[k][:3], other[k][:3], strict=True)) and one[k][3] == other[k][3]
        for k in one
    )


def read(engine, directory, optimizer="carry", hashed=()):
    """Load what is in a directory."""
    return read_fragments(engine, SavedState(directory, index_in(directory)), optimizer, hashed)


def first_format(directory, engine, change=lambda tensors: None, ranks=1):
    """Write the engine's state in the first format, with its tensors changed, dealt to some ranks."""
    tensors = {tuple(key): values.clone() for key, values in own_fragments(engine).tensors.items()}
    change(tensors)
    dealt = [dict(list(tensors.items())[rank::ranks]) for rank in range(ranks)]
    write_first_fragments(directory, dealt, own_fragments(engine).shapes, 2.0)


def test_what_is_written_is_what_is_read(tmp_path):
    source, target = plain_engine(0, steps=3), plain_engine(1)
    assert write_alone(own_fragments(source), tmp_path).name == "fragments-00000-of-00001.safetensors"
    assert not same(state(source), state(target))
    read(target, tmp_path)
    assert same(state(source), state(target))


def test_both_formats_have_the_same_state_to_the_bit(tmp_path):
    source, one, other = plain_engine(0), plain_engine(1), plain_engine(2)
    (tmp_path / "first").mkdir()
    first_format(tmp_path / "first", source, ranks=3)
    write_alone(own_fragments(source), tmp_path)
    read(one, tmp_path / "first")
    read(other, tmp_path)
    assert same(state(one), state(source))
    assert same(state(one), state(other))


def test_equal_states_are_equal_files(tmp_path):
    written = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        written.append(write_alone(own_fragments(plain_engine(0, steps=2)), tmp_path / name).read_bytes())
    assert len(set(written)) == 1


def test_state_before_the_first_step_is_zero_moments_and_the_initial_weights(tmp_path):
    engine = plain_engine(steps=0)
    weights = {name: p.detach().clone() for name, p in engine.module.named_parameters()}
    write_alone(own_fragments(engine), tmp_path)
    stored = assembled(tmp_path)
    for name, weight in weights.items():
        assert torch.equal(stored[f"fp32|{name}"], weight.flatten())
        assert not stored[f"exp_avg|{name}"].any()
    target = plain_engine(1)
    read(target, tmp_path)
    assert {values[3] for values in state(target).values()} == {0.0}


def test_step_counts_are_tensors_of_their_own(tmp_path):
    engine = plain_engine()
    write_alone(own_fragments(engine), tmp_path)
    read(engine, tmp_path)
    counters = [engine.optimizer.state[p]["step"] for p in engine.module.parameters()]
    assert len({counter.data_ptr() for counter in counters}) == len(counters)


def test_reads_tensors_that_are_cut_into_ranges(tmp_path):
    source, target = plain_engine(0), plain_engine(1)

    def cut(tensors):
        whole = tensors.pop(("exp_avg", "0.weight", 0))
        tensors |= {("exp_avg", "0.weight", 0): whole[:4].clone(), ("exp_avg", "0.weight", 4): whole[4:].clone()}

    first_format(tmp_path, source, cut)
    read(target, tmp_path)
    assert same(state(source), state(target))


@pytest.mark.parametrize("optimizer", ["carry", "reset"])
def test_what_is_hashed_is_what_is_read(tmp_path, optimizer):
    source, one, other = plain_engine(0), plain_engine(1), plain_engine(2)
    file = write_alone(own_fragments(source), tmp_path)
    read(one, tmp_path, optimizer)
    segment = FileSegment(file.name, 0, file.stat().st_size, sha256_file(file), 0)
    assert read(other, tmp_path, optimizer, [segment]) == {segment: segment.sha256}
    assert same(state(one), state(other))


def _drop(tensors):
    del tensors["exp_avg_sq", "0.bias", 0]


def _shorten(tensors):
    tensors["fp32", "1.weight", 0] = tensors["fp32", "1.weight", 0][:-1].clone()


def _hole(tensors):
    whole = tensors.pop(("fp32", "0.weight", 0))
    tensors |= {("fp32", "0.weight", 0): whole[:4].clone(), ("fp32", "0.weight", 5): whole[5:].clone()}


def _halve(tensors):
    tensors["fp32", "0.bias", 0] = tensors["fp32", "0.bias", 0].half()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_drop, "0.bias lacks elements 0 to 5 of exp_avg_sq"),
        (_shorten, "1.weight lacks elements 9 to 10 of fp32"),
        (_hole, "0.weight lacks elements 4 to 15 of fp32"),
        (_halve, "is F16, not F32"),
    ],
)
def test_a_lacking_fragment_is_refused_before_anything_changes(tmp_path, change, told):
    first_format(tmp_path, plain_engine(), change)
    target = plain_engine(1)
    before = state(target)
    with pytest.raises(CheckpointError, match=told):
        read(target, tmp_path)
    assert same(before, state(target))


def test_a_file_of_an_unknown_format_is_refused(tmp_path):
    file = write_alone(own_fragments(plain_engine()), tmp_path)
    (tmp_path / "index.json").unlink()
    with pytest.raises(CheckpointError, match=f"{file} has format 'lrps-fragments/2', not 'lrps-fragments/1'"):
        read(plain_engine(), tmp_path)


def test_another_models_checkpoint_is_refused_by_parameter(tmp_path):
    write_alone(own_fragments(plain_engine(width=5)), tmp_path)
    with pytest.raises(
        CheckpointError, match=r"parameter 0.weight is \[5, 3\] there and \[6, 3\] in the model; .*`model`"
    ):
        read(plain_engine(width=6), tmp_path)


def test_an_incomplete_set_of_files_is_refused(tmp_path):
    engine = plain_engine()
    with pytest.raises(CheckpointError, match="has no fragments"):
        read(engine, tmp_path)
    first_format(tmp_path, engine)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / file_name(1, 2))
    with pytest.raises(CheckpointError, match="not one complete set"):
        read(engine, tmp_path)


@pytest.mark.parametrize("size", [4, 40, -5], ids=["in its length", "in its header", "in its values"])
def test_a_cut_file_of_the_first_format_is_refused(tmp_path, size):
    engine = plain_engine()
    first_format(tmp_path, engine)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=f"{file} cannot be read"):
        read(engine, tmp_path)


def test_an_unknown_start_of_the_optimizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'carry' or 'reset'"):
        read_fragments(plain_engine(), None, "warm")


def test_reset_reads_no_moments(tmp_path):
    source, target = plain_engine(0), plain_engine(1)
    first_format(tmp_path, source, _drop)
    read(target, tmp_path, "reset")
    for name, (weight, first, second, step) in state(target).items():
        assert torch.equal(weight, state(source)[name][0])
        assert not first.any()
        assert not second.any()
        assert step == 0.0
