"""Exported weights: `from_pretrained` computes what the state computes, from any topology, shard size and model."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig

from lrps.base.errors import CheckpointError, ConfigError
from lrps.config.models import ModelConfig
from lrps.engine import pretrained
from lrps.engine.fragments import own_fragments
from lrps.engine.model import build_model
from lrps.engine.pretrained import write_pretrained
from lrps.engine.state_files.reading import StateReader
from support.assembled_state import assembled, write_alone
from support.first_fragments import write_first_fragments

END = 3
LLAMA = {
    "model_type": "llama", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
# Experts that transformers fuses in memory only, and a buffer that belongs to the model.
DEEPSEEK = {
    "model_type": "deepseek_v3", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "moe_intermediate_size": 16, "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "q_lora_rank": 16,
    "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip
ARCHITECTURES = {
    "llama": LLAMA,
    "llama tied": {**LLAMA, "tie_word_embeddings": True},
    "gpt2": GPT2,
    "deepseek": DEEPSEEK,
}
BUFFER = "model.layers.1.mlp.gate.e_score_correction_bias"


def saved(model: ModelConfig, directory, seed=5):
    """The trained model whose fragments lie in `directory` afterwards: every weight differs from the initial one."""
    trained = build_model(model, 0).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    adam = torch.optim.AdamW(trained.parameters())
    directory.mkdir()
    engine = SimpleNamespace(module=trained, optimizer=adam, zero_optimization_stage=lambda: 0)
    write_alone(own_fragments(engine), directory)
    return trained


def write(model, fragments, directory, **options):
    directory.mkdir(exist_ok=True)
    options = {"dtype": "fp32", "max_shard_bytes": 10**9, "document_end": END, **options}
    return write_pretrained(model, 0, [fragments], directory, **options)


def loaded(directory):
    model, told = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    assert not any(told.values()), told
    return model


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(60).view(3, 20)).logits


def stored_names(directory):
    return [name for file in sorted(directory.glob("*.safetensors")) for name in load_file(file)]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_it_computes_the_same_logits(kind, tmp_path):
    model = ModelConfig(architecture=ARCHITECTURES[kind])
    trained = saved(model, tmp_path / "fragments")
    written = write(model, tmp_path / "fragments", tmp_path / "out")
    there = loaded(tmp_path / "out")
    assert torch.equal(logits(there), logits(trained))
    assert (written.architecture, there.config.model_type) == (type(trained).__name__, written.model_type)
    assert written.parameters == sum(p.numel() for p in trained.parameters())
    assert ("lm_head.weight" in stored_names(tmp_path / "out")) is (kind in ("llama", "deepseek"))


def test_experts_lie_apart_as_in_published_models_and_buffers_are_kept(tmp_path, monkeypatch):
    def with_a_buffer(model, seed, begun):
        built = build_model(model, seed, begun=begun)
        built.state_dict()[BUFFER].copy_(torch.arange(8.0) / 8 + 0.1)
        return built

    monkeypatch.setattr(pretrained, "build_model", with_a_buffer)
    model = ModelConfig(architecture=DEEPSEEK)
    saved(model, tmp_path / "fragments")
    write(model, tmp_path / "fragments", tmp_path / "out", dtype="bf16")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert "model.layers.1.mlp.experts.7.down_proj.weight" in tensors
    assert torch.equal(tensors[BUFFER], torch.arange(8.0) / 8 + 0.1), "not rounded: it is no weight"


@pytest.mark.parametrize("kind", ["llama tied", "gpt2", "deepseek"])
def test_bf16_is_the_rounded_state(kind, tmp_path):
    model = ModelConfig(architecture=ARCHITECTURES[kind])
    trained = saved(model, tmp_path / "fragments")
    write(model, tmp_path / "fragments", tmp_path / "out", dtype="bf16")
    files = load_file(tmp_path / "out" / "model.safetensors")
    assert {values.dtype for name, values in files.items() if name != BUFFER} == {torch.bfloat16}
    there = loaded(tmp_path / "out")
    assert there.dtype == torch.bfloat16
    # transformers may keep some parameters in fp32 itself, such as deepseek's router from 5.24 on.
    rounded = dict(trained.bfloat16().named_parameters())
    assert all(torch.equal(p, rounded[name].to(p.dtype)) for name, p in there.named_parameters())


@pytest.mark.parametrize("limit", [1, 5000, 20_000])
def test_shards_keep_to_their_size_and_hold_everything_once(limit, tmp_path):
    model = ModelConfig(architecture=LLAMA)
    trained = saved(model, tmp_path / "fragments")
    write(model, tmp_path / "fragments", tmp_path / "out", max_shard_bytes=limit)
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert files == [f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)]
    assert len(files) > 1
    held = {file: load_file(tmp_path / "out" / file) for file in files}
    sizes = {file: sum(t.nbytes for t in tensors.values()) for file, tensors in held.items()}
    assert all(size <= limit or len(held[file]) == 1 for file, size in sizes.items())
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: file for file, tensors in held.items() for name in tensors}
    assert index["metadata"]["total_size"] == sum(sizes.values())
    assert len(stored_names(tmp_path / "out")) == len(dict(trained.named_parameters()))
    assert torch.equal(logits(loaded(tmp_path / "out")), logits(trained))


def test_one_shard_and_one_parameter_are_in_memory_at_a_time(tmp_path, monkeypatch):
    """What is read is written before more is read than fills a shard."""
    model = ModelConfig(architecture=LLAMA)
    saved(model, tmp_path / "fragments")
    held, most = 0, 0
    read, save = StateReader.read, pretrained.save_file

    def reading(self, name):
        nonlocal held, most
        values = read(self, name)
        held += values.nbytes
        most = max(most, held)
        return values

    def saving(tensors, *rest):
        nonlocal held
        held -= sum(t.nbytes for t in tensors.values())
        save(tensors, *rest)

    monkeypatch.setattr(StateReader, "read", reading)
    monkeypatch.setattr(pretrained, "save_file", saving)
    write(model, tmp_path / "fragments", tmp_path / "out", max_shard_bytes=13_000)
    assert held == 0
    assert most <= 13_000, "the largest parameter has 12416 bytes"


def test_weights_that_files_join_are_converted_together(tmp_path, monkeypatch):
    def joining(model, tensors):
        """As for a model whose files have one tensor for two norms."""
        norms = ("model.layers.0.input_layernorm.weight", "model.layers.1.input_layernorm.weight")
        rest = {name: values for name, values in tensors.items() if name not in norms}
        found = [tensors[name] for name in norms if name in tensors]
        return {**rest, "norms": torch.cat(found)} if found else rest

    monkeypatch.setattr("transformers.core_model_loading.revert_weight_conversion", joining)
    model = ModelConfig(architecture=LLAMA)
    trained = saved(model, tmp_path / "fragments")
    write(model, tmp_path / "fragments", tmp_path / "out", max_shard_bytes=1)
    stored = {n: t for file in (tmp_path / "out").glob("*.safetensors") for n, t in load_file(file).items()}
    layers = trained.model.layers
    expected = torch.cat([layer.input_layernorm.weight.detach() for layer in layers])
    assert torch.equal(stored["norms"], expected)
    assert len(stored) == len(dict(trained.named_parameters())) - 1


def test_config_and_generation_know_the_end_of_a_document(tmp_path):
    model = ModelConfig(architecture={**LLAMA, "use_cache": False})
    saved(model, tmp_path / "fragments")
    write(model, tmp_path / "fragments", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    told = {key: config[key] for key in ("architectures", "dtype", "use_cache", "eos_token_id", "bos_token_id")}
    assert told == {
        "architectures": ["LlamaForCausalLM"], "dtype": "float32", "use_cache": True, "eos_token_id": END,
        "bos_token_id": END,
    }  # fmt: skip
    there = loaded(tmp_path / "out")
    assert GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id == END
    assert there.generate(max_new_tokens=4, do_sample=False).shape[0] == 1, "from nothing: it begins after an end"
    with torch.no_grad():
        there.lm_head.weight.zero_()
        there.lm_head.weight[END] = there.model(torch.tensor([[1]])).last_hidden_state[0, -1]
    assert there.generate(torch.tensor([[1]]), max_new_tokens=9, do_sample=False).tolist()[0] == [1, END]


def test_a_model_that_began_from_a_checkpoint_names_no_path_of_this_machine(tmp_path):
    build_model(ModelConfig(architecture=LLAMA), 1).save_pretrained(tmp_path / "began")
    model = ModelConfig(checkpoint=tmp_path / "began")
    trained = saved(model, tmp_path / "fragments")
    write(model, tmp_path / "fragments", tmp_path / "out")
    assert torch.equal(logits(loaded(tmp_path / "out")), logits(trained))
    assert all(str(tmp_path) not in file.read_text() for file in (tmp_path / "out").glob("*.json"))
    (tmp_path / "began" / "config.json").unlink()
    with pytest.raises(ConfigError, match="has no config.json; give the local directory"):
        write(model, tmp_path / "fragments", tmp_path / "other")


def test_another_model_is_refused(tmp_path):
    saved(ModelConfig(architecture=LLAMA), tmp_path / "fragments")
    with pytest.raises(CheckpointError, match=r"parameter .* give the `model` section that it was trained with"):
        write(ModelConfig(architecture={**LLAMA, "hidden_size": 64}), tmp_path / "fragments", tmp_path / "out")


def test_a_hole_in_the_weights_is_refused(tmp_path):
    model = ModelConfig(architecture=LLAMA)
    trained = saved(model, tmp_path / "fragments")
    shutil.rmtree(tmp_path / "fragments")
    (tmp_path / "fragments").mkdir()
    tensors = {("fp32", name, 0): values.detach().flatten() for name, values in trained.named_parameters()}
    tensors["fp32", "model.norm.weight", 0] = tensors["fp32", "model.norm.weight", 0][:-1].clone()
    shapes = {name: list(values.shape) for name, values in trained.named_parameters()}
    write_first_fragments(tmp_path / "fragments", [tensors], shapes, 0.0)
    with pytest.raises(CheckpointError, match="model.norm.weight lacks elements 31 to 32 of fp32"):
        write(model, tmp_path / "fragments", tmp_path / "out")


MATRIX = {"llama": {**LLAMA, "vocab_size": 4099}, "gpt2": GPT2}


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize(
    ("kind", "stage", "precision"),
    [("llama", s, "fp32") for s in (0, 1, 2, 3)] + [("llama", 3, "bf16"), ("gpt2", 0, "fp32"), ("gpt2", 3, "fp32")],
)
def test_every_topology_gives_its_own_logits(matrix, matrix_directory, tmp_path, world, kind, stage, precision):
    (fragments,) = (matrix_directory / f"{kind}-w{world}-s{stage}-{precision}" / "checkpoints").iterdir()
    model = ModelConfig(architecture=MATRIX[kind])
    truth, weights = build_model(model, 9).eval(), assembled(fragments)
    with torch.no_grad():
        for name, parameter in truth.named_parameters():
            parameter.copy_(weights[f"fp32|{name}"].view_as(parameter))
    write(model, fragments, tmp_path / "out", max_shard_bytes=100_000)
    assert torch.equal(logits(loaded(tmp_path / "out")), logits(truth))
