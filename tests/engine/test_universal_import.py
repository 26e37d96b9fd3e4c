"""The universal format read: what was written comes back to the bit; what is no state is refused and never run."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lrps.base.errors import CheckpointError
from lrps.config.models import ModelConfig
from lrps.engine.model import build_model
from lrps.engine.state_files.reading import open_state
from lrps.engine.universal import write_universal
from lrps.engine.universal_import import import_universal
from lrps.store.checkpoints import open_checkpoint, verify_checkpoint
from support.assembled_state import assembled

STATES = ("fp32", "exp_avg", "exp_avg_sq")
MODEL = ModelConfig(
    architecture={"model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
)
NORM = "transformer.ln_f.weight"


@pytest.fixture(scope="module")
def fragments(tmp_path_factory) -> Path:
    """A checkpoint's files of two ranks with made-up values: each holds a half of every parameter."""
    directory = tmp_path_factory.mktemp("fragments")
    shapes = {name: list(values.shape) for name, values in build_model(MODEL, 0).named_parameters()}
    facts = json.dumps({"format": "lrps-fragments/1", "adam_step": 7, "shapes": shapes})
    generator = torch.Generator().manual_seed(0)
    values = {
        f"{state}|{name}": torch.randn(torch.Size(shape).numel(), generator=generator).abs()
        for state in STATES
        for name, shape in shapes.items()
    }
    for index in range(2):
        halves = {
            f"{key}|{index * (len(whole) // 2)}": whole.tensor_split([len(whole) // 2])[index].clone()
            for key, whole in values.items()
        }
        save_file(halves, directory / f"fragments-0000{index}-of-00002.safetensors", {"lrps": facts})
    return directory


@pytest.fixture
def universal(fragments, tmp_path) -> Path:
    """The directory of `latest_universal`; its tag is global_step5_universal."""
    write_universal(fragments, tmp_path / "universal", 5, 20, {})
    return tmp_path / "universal"


def parameter(universal: Path, name: str = NORM) -> Path:
    return universal / "global_step5_universal" / "zero" / name


def refused(universal: Path, match: str, model: ModelConfig = MODEL) -> None:
    """It is refused, and nothing is left."""
    out = universal.parent / "out"
    with pytest.raises(CheckpointError, match=match):
        import_universal(model, universal, out)
    assert not out.exists() or list(out.iterdir()) == []


def test_there_and_back_is_the_same_to_the_bit(fragments, universal, tmp_path):
    imported = import_universal(MODEL, universal, tmp_path / "out")
    assert imported.left_out == ()
    assert imported.checkpoint.directory == tmp_path / "out" / "step-00000005"
    checkpoint = open_checkpoint(imported.checkpoint.directory)
    verify_checkpoint(checkpoint)
    there, back = assembled(fragments), assembled(checkpoint.directory)
    assert there.keys() == back.keys()
    assert all(torch.equal(there[key], back[key]) for key in there)
    with open_state(fragments) as one, open_state(checkpoint.directory) as other:
        assert (one.adam_step, dict(one.shapes)) == (other.adam_step, dict(other.shapes)) == (7.0, dict(one.shapes))
    again = write_universal(checkpoint.directory, tmp_path / "again", 5, 20, {})
    for name in one.shapes:
        for kind in (*STATES, "step"):
            pair = [
                (root / "zero" / name / f"{kind}.pt").read_bytes() for root in (again, parameter(universal).parents[1])
            ]
            assert pair[0] == pair[1]


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("case", ["s1 fp32", "s2 bf16", "s3 fp32"])
def test_training_goes_on_from_what_a_deepspeed_script_saved(matrix, world, case):
    told = matrix[world]["imported"][case]
    assert told["origin"]["deepspeed"].startswith("0.")
    assert (told["step"], told["origin"]["adam_step"], told["origin"]["global_step"]) == (3, 3.0, 3)
    assert told["different"] == [], "weights and both moments are those of the DeepSpeed engine, to the bit"
    assert len(told["theirs"]) == 4
    assert told["ours"] == told["theirs"]


def test_it_says_where_it_came_from_wherever_that_lies(universal, tmp_path):
    origin = import_universal(MODEL, universal, tmp_path / "out").checkpoint.identity["origin"]
    assert {key: origin[key] for key in ("format", "tag", "global_step", "adam_step")} == {
        "format": "deepspeed-universal", "tag": "global_step5_universal", "global_step": 5, "adam_step": 7.0,
    }  # fmt: skip
    assert origin["deepspeed"].startswith("0.")
    moved = shutil.copytree(universal / origin["tag"], tmp_path / "moved" / origin["tag"])
    assert import_universal(MODEL, moved, tmp_path / "two").checkpoint.identity["origin"] == origin
    torch.save({"param": torch.zeros(32)}, moved / "zero" / NORM / "fp32.pt")
    changed = import_universal(MODEL, moved, tmp_path / "three").checkpoint.identity["origin"]
    assert changed == {**origin, "sha256": changed["sha256"]} != origin


def test_a_script_may_keep_anything_beside_the_state(universal, tmp_path):
    tag = universal / "global_step5_universal"
    for file in tag.glob("*model_states.pt"):
        torch.save({"global_steps": 5, "args": Evil(tmp_path / "was run")}, file)
    origin = import_universal(MODEL, universal, tmp_path / "out").checkpoint.identity["origin"]
    assert (origin["global_step"], origin["deepspeed"]) == (5, None), "the step is in the name of the tag"
    assert not (tmp_path / "was run").exists()


class Evil:
    """Makes a file when it is unpickled without a guard."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


class OldEnumMember:
    """Is pickled as Python 3.11.2 pickles the member of an enumeration: as a call of getattr."""

    def __reduce__(self):
        return getattr, (1, "no attribute")


def test_members_of_enumerations_are_read_as_any_python_saves_them_and_nothing_is_called(universal):
    for step in universal.rglob("step.pt"):
        step.unlink()
    adam = {"state": {0: {"step": torch.tensor(7.0)}}}
    file = universal / "global_step5_universal" / "zero" / "optimizer_state.pt"
    torch.save({"zero_stage": OldEnumMember(), "optimizer_state_dict": adam}, file)
    checkpoint = import_universal(MODEL, universal, universal.with_name("read")).checkpoint
    with open_state(checkpoint.directory) as state:
        assert state.adam_step == 7


@pytest.mark.parametrize("what", [f"zero/{NORM}/fp32.pt", f"zero/{NORM}/step.pt", "zero/optimizer_state.pt"])
def test_a_malicious_pickle_is_refused_and_not_run(universal, tmp_path, what):
    if "optimizer_state" in what:
        for step in universal.rglob("step.pt"):
            step.unlink()
    file = universal / "global_step5_universal" / what
    torch.save({"param": Evil(tmp_path / "was run")}, file)
    refused(universal, r"contains posix.mkdir, not only tensors; none of it was run")
    assert not (tmp_path / "was run").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "was run").exists(), "it would have been run"


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_truncated_file_is_refused(universal, size):
    file = parameter(universal) / "exp_avg.pt"
    file.write_bytes(file.read_bytes()[:size])
    refused(universal, r"ln_f.weight/exp_avg.pt cannot be read .*copy it again")


def test_a_flipped_bit_is_refused(universal):
    file = parameter(universal) / "fp32.pt"
    content = file.read_bytes()
    values = torch.load(file, weights_only=True)["param"].numpy().tobytes()
    place = content.index(values) + 2
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    refused(universal, r"fp32.pt is damaged: the checksum of .*data/0 is wrong")


def test_another_model_is_told_by_names_and_shapes(universal):
    fields = MODEL.architecture
    refused(
        universal,
        r"wpe.weight is \[64, 32\] in fp32, \[80, 32\] in the model",
        ModelConfig(architecture={**fields, "n_positions": 80}),
    )
    refused(
        universal,
        r"h\.2\.ln_1\.weight is missing\n(.*\n)+  and 7 more\n",
        ModelConfig(architecture={**fields, "n_layer": 3}),
    )
    refused(universal, r"h\.1\.\S+ is no parameter of the model\n", ModelConfig(architecture={**fields, "n_layer": 1}))


@pytest.mark.parametrize("kind", STATES)
def test_a_part_of_a_state_is_refused(universal, kind):
    (parameter(universal) / f"{kind}.pt").unlink()
    refused(universal, rf"{NORM} lacks {kind}\n")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (torch.tensor([1.0] * 31 + [float("nan")]), f"{NORM} has values that are not finite in exp_avg_sq"),
        (torch.tensor([float("inf")] + [1.0] * 31), f"{NORM} has values that are not finite in exp_avg_sq"),
        (torch.ones(31), r"ln_f.weight is \[31\] in exp_avg_sq, \[32\] in the model"),
        (torch.ones(32, dtype=torch.float64), "is torch.float64 in exp_avg_sq, which fp32 does not hold exactly"),
        (torch.ones(32).to_sparse(), "exp_avg_sq.pt contains no tensor"),
        ("nothing", "exp_avg_sq.pt contains no tensor"),
    ],
)
def test_values_that_nothing_can_go_on_from_are_refused(universal, values, told):
    torch.save({"param": values}, parameter(universal) / "exp_avg_sq.pt")
    refused(universal, told)


@pytest.mark.parametrize("steps", [8.0, 3.5, -1.0, float("nan")])
def test_adam_has_one_whole_step_count(universal, steps):
    torch.save(torch.tensor(steps), parameter(universal) / "step.pt")
    refused(universal, "different numbers of steps|contains no number of steps")


def test_without_a_step_count_there_is_no_going_on(universal):
    for file in [*universal.rglob("step.pt"), *universal.rglob("optimizer_state.pt")]:
        file.unlink()
    refused(universal, "optimizer_state.pt is missing")


def test_a_common_prefix_and_untrained_names_are_no_fault(universal, fragments, tmp_path):
    zero = parameter(universal).parent
    (zero / "lm_head.weight").mkdir()  # The other name of a tied weight, as ds_to_universal writes it for ZeRO 1.
    torch.save({"param": torch.zeros(1)}, zero / "lm_head.weight" / "fp32.pt")
    for directory in [path for path in zero.iterdir() if path.is_dir()]:
        directory.rename(zero / f"module.{directory.name}")
    back = assembled(import_universal(MODEL, universal, tmp_path / "out").checkpoint.directory)
    there = assembled(fragments)
    assert back.keys() == there.keys()
    assert all(torch.equal(there[key], back[key]) for key in there)
    (zero / f"module.{NORM}").rename(zero / NORM)
    shutil.rmtree(tmp_path / "out")
    refused(universal, "is missing")


def test_what_belongs_to_a_model_and_is_not_trained_is_left_out_and_named(tmp_path):
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
    }
    heads = {
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    }
    experts = {
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    }
    kind = {"model_type": "deepseek_v3", "vocab_size": 97, "num_hidden_layers": 2}
    model = ModelConfig(architecture={**kind, **sizes, **heads, **experts})
    zero, buffer = tmp_path / "global_step5_universal" / "zero", "model.layers.1.mlp.gate.e_score_correction_bias"
    for name, values in build_model(model, 0).named_parameters():
        (zero / name).mkdir(parents=True)
        for state in STATES:
            torch.save({"param": values.detach()}, zero / name / f"{state}.pt")
        torch.save(torch.tensor(5.0), zero / name / "step.pt")
    (zero / buffer).mkdir()
    torch.save({"param": torch.ones(8)}, zero / buffer / "fp32.pt")
    imported = import_universal(model, zero.parent, tmp_path / "out")
    assert imported.left_out == (buffer,)
    assert imported.checkpoint.identity["origin"]["left_out"] == [buffer]


def test_what_is_no_universal_directory_is_told_with_the_way_out(universal, tmp_path):
    refused(tmp_path / "nowhere", "nowhere is no directory; give the directory that ds_to_universal")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has neither zero/ nor latest_universal")
    (universal / "latest_universal").unlink()
    (universal / "latest").write_text("global_step5")
    refused(universal, r"not in the universal format; convert it first: python -m deepspeed.checkpoint.ds_to_universal")
    (universal / "latest").write_text("../elsewhere")
    refused(universal, "names '../elsewhere', which is not beside it")


def test_nothing_is_overwritten(universal, tmp_path):
    import_universal(MODEL, universal, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="step-00000005 exists already"):
        import_universal(MODEL, universal, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_full_disk_is_explained_and_leaves_nothing_behind(universal):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        refused(universal, "cannot write .*Free disk space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
