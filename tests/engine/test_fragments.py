"""State in fragments: exact into every topology, bitwise continuation, and clear refusals."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lrps.base import files
from lrps.base.errors import CheckpointError, UnreadableCheckpointError
from lrps.base.files import sha256_file
from lrps.engine import fragments
from lrps.engine.fragments import FACTS, Fragments, file_name, own_fragments, read_fragments

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
        assert found["files"] == [*(file_name(rank, 4) for rank in range(4)), "state.json"]
    assert elastic["s3"]["step"][0] == pytest.approx(elastic["s1"]["step"][0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", ["s0 fp32", "s1 fp32", "s3 fp32", "s2 bf16"])
def test_same_topology_goes_on_bit_for_bit(matrix, world, case):
    found = matrix[world]["continuation"][case]
    assert len(found["straight"]) == 5
    assert found["resumed"] == found["straight"]
    assert found["different"] == []


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


def rewrite(path, change):
    """Save the file again with its tensors changed and its metadata kept."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()[FACTS])
    tensors = load_file(path)
    change(tensors, facts)
    save_file(tensors, path, {FACTS: json.dumps(facts)})


def test_what_is_written_is_what_is_read(tmp_path):
    source, target = plain_engine(0, steps=3), plain_engine(1)
    assert [p.name for p in own_fragments(source).write(tmp_path)] == ["fragments-00000-of-00001.safetensors"]
    assert not same(state(source), state(target))
    read_fragments(target, tmp_path)
    assert same(state(source), state(target))


def test_equal_states_are_equal_files(tmp_path):
    written = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (path,) = own_fragments(plain_engine(0, steps=2)).write(tmp_path / name)
        written.append(path.read_bytes())
    assert len(set(written)) == 1


def test_state_before_the_first_step_is_zero_moments_and_the_initial_weights(tmp_path):
    engine = plain_engine(steps=0)
    weights = {name: p.detach().clone() for name, p in engine.module.named_parameters()}
    own_fragments(engine).write(tmp_path)
    stored = load_file(tmp_path / file_name(0, 1))
    for name, weight in weights.items():
        assert torch.equal(stored[f"fp32|{name}|0"], weight.flatten())
        assert not stored[f"exp_avg|{name}|0"].any()
    target = plain_engine(1)
    read_fragments(target, tmp_path)
    assert {values[3] for values in state(target).values()} == {0.0}


def test_step_counts_are_tensors_of_their_own(tmp_path):
    engine = plain_engine()
    own_fragments(engine).write(tmp_path)
    read_fragments(engine, tmp_path)
    counters = [engine.optimizer.state[p]["step"] for p in engine.module.parameters()]
    assert len({counter.data_ptr() for counter in counters}) == len(counters)


def test_reads_tensors_that_are_cut_into_ranges(tmp_path):
    source, target = plain_engine(0), plain_engine(1)
    own_fragments(source).write(tmp_path)

    def cut(tensors, facts):
        whole = tensors.pop("exp_avg|0.weight|0")
        tensors.update({"exp_avg|0.weight|0": whole[:4].clone(), "exp_avg|0.weight|4": whole[4:].clone()})

    rewrite(tmp_path / file_name(0, 1), cut)
    read_fragments(target, tmp_path)
    assert same(state(source), state(target))


@pytest.mark.parametrize("piece", [1, 5, 64, 2**24], ids=lambda piece: f"pieces of {piece} bytes")
@pytest.mark.parametrize("optimizer", ["carry", "reset"])
def test_a_file_that_is_hashed_is_read_once_and_exactly(tmp_path, monkeypatch, piece, optimizer):
    source, one, other = plain_engine(0), plain_engine(1), plain_engine(2)
    (file,) = own_fragments(source).write(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    read_fragments(one, tmp_path, optimizer)
    monkeypatch.setattr(files, "_PIECE", piece)
    monkeypatch.setattr(fragments._Copy, "read", None)
    digests = read_fragments(other, tmp_path, optimizer, [file.name, "state.json"])
    assert same(state(one), state(other))
    assert digests == {path.name: sha256_file(path) for path in (file, tmp_path / "state.json")}


def test_only_ranges_are_read_of_a_file_that_another_rank_hashes(tmp_path):
    source, target = plain_engine(0), plain_engine(1)
    own = own_fragments(source)
    first = {key: tensor for key, tensor in own.tensors.items() if "|0." in key}
    second = {key: tensor for key, tensor in own.tensors.items() if "|0." not in key}
    for index, tensors in enumerate((first, second)):
        replace(own, file=file_name(index, 2), tensors=tensors).write(tmp_path)
    assert read_fragments(target, tmp_path, hashed=[file_name(1, 2)]).keys() == {file_name(1, 2)}
    assert same(state(source), state(target))


def _drop(tensors, facts):
    del tensors["exp_avg_sq|0.bias|0"]


def _shorten(tensors, facts):
    tensors["fp32|1.weight|0"] = tensors["fp32|1.weight|0"][:-1].clone()


def _hole(tensors, facts):
    whole = tensors.pop("fp32|0.weight|0")
    tensors.update({"fp32|0.weight|0": whole[:4].clone(), "fp32|0.weight|5": whole[5:].clone()})


def _halve(tensors, facts):
    tensors["fp32|0.bias|0"] = tensors["fp32|0.bias|0"].half()


def _format(tensors, facts):
    facts["format"] = "lrps-fragments/9"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_drop, "0.bias lacks elements 0 to 5 of exp_avg_sq"),
        (_shorten, "1.weight lacks elements 9 to 10 of fp32"),
        (_hole, "0.weight lacks elements 4 to 15 of fp32"),
        (_halve, "is F16, not F32"),
        (_format, "has format 'lrps-fragments/9'"),
    ],
)
def test_a_lacking_fragment_is_refused_before_anything_changes(tmp_path, change, told):
    engine = plain_engine()
    own_fragments(engine).write(tmp_path)
    rewrite(tmp_path / file_name(0, 1), change)
    target = plain_engine(1)
    before = state(target)
    with pytest.raises(CheckpointError, match=told):
        read_fragments(target, tmp_path)
    assert same(before, state(target))


def test_another_models_checkpoint_is_refused_by_parameter(tmp_path):
    own_fragments(plain_engine(width=5)).write(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"parameter 0.weight is \[5, 3\] there and \[6, 3\] in the model; .*`model`"
    ):
        read_fragments(plain_engine(width=6), tmp_path)


def test_an_incomplete_set_of_files_is_refused(tmp_path):
    engine = plain_engine()
    with pytest.raises(CheckpointError, match="has no fragments"):
        read_fragments(engine, tmp_path)
    path = own_fragments(engine).write(tmp_path)[0]
    path.rename(tmp_path / file_name(1, 2))
    with pytest.raises(CheckpointError, match="not one complete set"):
        read_fragments(engine, tmp_path)


def test_a_cut_file_is_refused(tmp_path):
    engine = plain_engine()
    path = own_fragments(engine).write(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_fragments(engine, tmp_path)


@pytest.mark.parametrize("bad", ["read", "read_whole"])
def test_a_file_that_changes_while_it_is_read_is_a_checkpoint_error(tmp_path, bad):
    """Any other class could part the ranks: those that catch it verify the files together."""
    (path,) = Fragments("fragments-00000-of-00001.safetensors", {"fp32|a|0": torch.ones(2)}, {}).write(tmp_path)
    with safe_open(path, framework="pt") as file:
        copy = fragments._Copy(path, file, "fp32|b|0", 0, torch.zeros(2))
        with pytest.raises(CheckpointError, match=f"{path} cannot be read"):
            copy.read() if bad == "read" else fragments._read_whole(path, [copy])


def test_an_error_of_the_file_system_names_the_host(tmp_path):
    (tmp_path / file_name(0, 1)).symlink_to(file_name(0, 1))
    with pytest.raises(UnreadableCheckpointError, match=f"cannot be read on host {socket.gethostname()}"):
        fragments._read_whole(tmp_path / file_name(0, 1), [])


def test_a_missing_directory_is_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="cannot write"):
        own_fragments(plain_engine()).write(tmp_path / "absent")


def test_an_unknown_start_of_the_optimizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'carry' or 'reset'"):
        read_fragments(plain_engine(), tmp_path, "warm")


def test_reset_reads_no_moments(tmp_path):
    source, target = plain_engine(0), plain_engine(1)
    own_fragments(source).write(tmp_path)
    rewrite(tmp_path / file_name(0, 1), _drop)
    read_fragments(target, tmp_path, "reset")
    for name, (weight, first, second, step) in state(target).items():
        assert torch.equal(weight, state(source)[name][0])
        assert not first.any()
        assert not second.any()
        assert step == 0.0
