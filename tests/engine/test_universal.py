"""The universal format: real DeepSpeed engines load it (matrix_worker.py); what is refused leaves nothing behind."""

from __future__ import annotations

import resource

import pytest
import torch
from safetensors.torch import save_file

from lrps.base.errors import CheckpointError
from lrps.engine.universal import write_universal

SHAPES = {"wte.weight": [3, 2], "ln.bias": [4]}


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("case", ["w1 s0 fp32 -> s1", "w2 s1 fp32 -> s3", "w2 s3 bf16 -> s2"])
def test_a_plain_deepspeed_script_finds_the_state_and_goes_on(matrix, world, case):
    told = matrix[world]["universal"][case]
    assert told["loaded"]
    assert told["different"] == [], "weights and both moments, to the bit"
    assert set(told["adam_steps"]) == {3.0}
    assert told["counters"] == (1 if case.endswith("s3") else 2), "what the help of to-universal says of ZeRO 3"
    assert (told["global_steps"], told["tokens"]) == (3, 192)
    assert told["weight_decay"] == [0.1, 0.0], "those of the script, group by group"
    assert told["elsewhere"] == pytest.approx(told["here"], rel=1e-3 if "bf16" in case else 1e-6)
    assert told["elsewhere"][-1] < told["elsewhere"][0] - 0.5


def fragments(directory, leave_out=()):
    """A checkpoint's files of two ranks, by hand: the second parameter is cut in two."""
    cuts = {"wte.weight": [(0, 6)], "ln.bias": [(0, 3), (3, 4)]}
    facts = f'{{"format": "lrps-fragments/1", "adam_step": 5, "shapes": {str(SHAPES).replace(chr(39), chr(34))}}}'
    directory.mkdir()
    for index in range(2):
        tensors = {
            f"{state}|{name}|{start}": torch.arange(start, stop, dtype=torch.float32) + 10 * number
            for number, state in enumerate(("fp32", "exp_avg", "exp_avg_sq"))
            for name, ranges in cuts.items()
            for start, stop in ranges[index : index + 1]
            if f"{state}|{name}" not in leave_out
        }
        save_file(tensors, directory / f"fragments-0000{index}-of-00002.safetensors", {"lrps": facts})
    return directory


def test_what_is_written_needs_no_unpickling_of_code(tmp_path):
    written = write_universal(fragments(tmp_path / "state"), tmp_path / "out", 5, 20, {"lrps": {"path": "main"}})
    assert written == tmp_path / "out" / "global_step5_universal"
    assert (tmp_path / "out" / "latest_universal").read_text() == written.name
    for number, state in enumerate(("fp32", "exp_avg", "exp_avg_sq")):
        for name, shape in SHAPES.items():
            values = torch.load(written / "zero" / name / f"{state}.pt", weights_only=True)["param"]
            assert list(values.shape) == shape
            assert values.flatten().tolist() == [10.0 * number + i for i in range(values.numel())]
    assert torch.load(written / "zero" / "ln.bias" / "step.pt", weights_only=True) == 5.0
    states = torch.load(written / "mp_rank_00_model_states.pt", weights_only=True)
    assert (states["global_steps"], states["global_samples"], states["lrps"]) == (5, 20, {"path": "main"})


def test_steps_lie_side_by_side_and_none_is_overwritten(tmp_path):
    state, out = fragments(tmp_path / "state"), tmp_path / "out"
    write_universal(state, out, 5, 20, {})
    write_universal(state, out, 6, 24, {})
    assert (out / "latest_universal").read_text() == "global_step6_universal"
    with pytest.raises(CheckpointError, match="global_step5_universal exists already"):
        write_universal(state, out, 5, 20, {})


def test_a_gap_leaves_nothing_behind(tmp_path):
    state = fragments(tmp_path / "state", leave_out=["exp_avg_sq|ln.bias"])
    with pytest.raises(CheckpointError, match=r"ln\.bias lacks elements 0 to 4 of exp_avg_sq"):
        write_universal(state, tmp_path / "out", 5, 20, {})
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_explained_and_leaves_nothing_behind(tmp_path):
    state, limits = fragments(tmp_path / "state"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot write .*Free disk space"):
            write_universal(state, tmp_path / "out", 5, 20, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "out").iterdir()) == []
