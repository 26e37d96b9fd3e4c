"""Models from the config: deterministic, honest about typos, and split into groups as asked."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
import torch

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig
from lrps.config.optimizing import AdamWConfig
from lrps.engine.model import build_model, build_skeleton, compile_layers
from lrps.engine.optimizers.parameter_groups import parameter_groups

LLAMA = {
    "model_type": "llama",
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2 = {"model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}


def build(architecture, seed=0, **options):
    return build_model(ModelConfig(architecture=architecture), seed, **options)


def weights(model):
    return dict(model.named_parameters())


def test_the_seed_decides_the_weights_and_the_global_state_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, again, other = (weights(build(LLAMA, seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_models_are_fp32_and_initialised_as_transformers_does():
    model = build(LLAMA)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert float(weights(model)["model.embed_tokens.weight"].detach().std()) == pytest.approx(0.02, rel=0.1)
    assert model.config.use_cache is False


def test_activation_checkpointing_changes_no_gradient():
    rows = torch.arange(16).view(2, 8)
    gradients = []
    for checkpointing in (False, True):
        model = build(LLAMA, activation_checkpointing=checkpointing).train()
        assert model.is_gradient_checkpointing is checkpointing
        model(input_ids=rows, labels=rows).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_sise": 64}, r"model.architecture.hidden_sise: .* did you mean 'hidden_size'\?"),
        ({"n_layer": 2}, r"model.architecture.n_layer: a llama model has no such key"),
        ({"dtype": "bfloat16"}, r"model.architecture.dtype: the precision is engine.precision"),
        ({"torch_dtype": "bfloat16"}, r"the precision is engine.precision"),
        ({"model_type": "lama"}, r"model_type: .*'lama'; did you mean 'llama'\?"),
        ({"hidden_size": "wide"}, r"no llama model can be built from it"),
        ({"num_attention_heads": 5}, r"no llama model can be built from it"),
    ],
)
def test_wrong_architectures_are_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        build({**LLAMA, **change})


def test_the_attention_kernel_is_the_one_that_was_asked_for():
    assert build(LLAMA).config._attn_implementation == "sdpa"
    assert build(LLAMA, attention="eager").config._attn_implementation == "eager"


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash_attn is installed")
def test_a_kernel_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"engine.attention: .*FlashAttention2.*leave the key out"):
        build(LLAMA, attention="flash_attention_2")


def test_a_model_with_its_attention_built_in_takes_no_other():
    bloom = {"model_type": "bloom", "vocab_size": 97, "hidden_size": 32, "n_layer": 1, "n_head": 4}
    with pytest.raises(ConfigError, match=r"engine.attention: a bloom model has eager only; leave the key out"):
        build(bloom, attention="sdpa")


def test_aliases_of_the_config_class_and_rope_theta_are_known():
    assert build({**LLAMA, "rope_theta": 5e5}).config.rope_parameters["rope_theta"] == 5e5
    alias = {"model_type": "gpt2", "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 1, "n_head": 4}
    assert build(alias).config.n_embd == 32


def test_a_width_of_heads_that_the_config_class_does_not_list_is_used():
    sizes = {"vocab_size": 97, "hidden_size": 32, "moe_intermediate_size": 16, "num_hidden_layers": 1, "num_experts": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts_per_tok": 1, "head_dim": 16}
    built = build_model(ModelConfig(architecture={"model_type": "qwen3_moe", **sizes, **heads}), seed=1)
    assert built.model.layers[0].self_attn.q_proj.out_features == 4 * 16
    with pytest.raises(ConfigError, match="head_dim: a bloom model has no such key"):
        build_model(ModelConfig(architecture={"model_type": "bloom", "vocab_size": 97, "head_dim": 16}), seed=1)


def test_a_local_checkpoint_gives_its_weights(tmp_path):
    source = build(LLAMA, 5)
    source.save_pretrained(tmp_path)
    model = build_model(ModelConfig(checkpoint=tmp_path), seed=0)
    assert all(torch.equal(p, weights(source)[name]) for name, p in model.named_parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.use_cache is False


def test_a_checkpoint_in_bf16_is_trained_from_fp32(tmp_path):
    build(LLAMA).bfloat16().save_pretrained(tmp_path)
    assert {p.dtype for p in build_model(ModelConfig(checkpoint=tmp_path), 0).parameters()} == {torch.float32}


def test_checkpoints_that_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="is no directory"):
        build_model(ModelConfig(checkpoint=tmp_path / "absent"), 0)
    with pytest.raises(ConfigError, match=r"has no config.json"):
        build_model(ModelConfig(checkpoint=tmp_path), 0)
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(ConfigError, match="has no model.safetensors"):
        build_model(ModelConfig(checkpoint=tmp_path), 0)


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    model = build(LLAMA)
    state = {name: value for name, value in model.state_dict().items() if "layers.1.mlp" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ConfigError, match=r"lacks weights: model.layers.1.mlp"):
        build_model(ModelConfig(checkpoint=tmp_path), 0)


def names(model, group):
    known = {id(p): name for name, p in model.named_parameters()}
    return [known[id(p)] for p in group["params"]]


def test_by_default_everything_decays_in_one_group():
    model = build(GPT2)
    (group,) = parameter_groups(model, AdamWConfig(weight_decay=0.3))
    assert group["weight_decay"] == 0.3
    assert names(model, group) == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize(
    ("spared", "told"),
    [
        (("norms",), lambda name: ".ln_" in name),
        (("biases",), lambda name: name.endswith(".bias")),
        (("embeddings",), lambda name: ".wte." in name or ".wpe." in name),
        (("norms", "biases", "embeddings"), lambda n: ".ln_" in n or n.endswith(".bias") or ".wte" in n or ".wpe" in n),
    ],
)
def test_spared_parameters_are_a_group_of_their_own(spared, told):
    model = build(GPT2)
    decay, rest = parameter_groups(model, AdamWConfig(no_weight_decay=spared))
    everything = [name for name, _ in model.named_parameters()]
    assert names(model, rest) == [name for name in everything if told(name)]
    assert names(model, decay) == [name for name in everything if not told(name)]
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)


def test_rms_norms_are_norms_and_an_untied_head_is_no_embedding():
    model = build(LLAMA)
    _, rest = parameter_groups(model, AdamWConfig(no_weight_decay=("norms", "embeddings")))
    assert names(model, rest) == [n for n, _ in model.named_parameters() if "norm" in n or "embed" in n]


def test_an_empty_group_is_left_out():
    model = build(LLAMA)  # It has no biases.
    assert len(parameter_groups(model, AdamWConfig(no_weight_decay=("biases",)))) == 1


@pytest.mark.parametrize("architecture", [LLAMA, {**LLAMA, "tie_word_embeddings": True}, GPT2], ids=str)
def test_a_skeleton_has_the_names_and_shapes_and_no_values(architecture, tmp_path):
    model = build(architecture)
    model.save_pretrained(tmp_path)
    for described in (ModelConfig(architecture=architecture), ModelConfig(checkpoint=tmp_path)):
        skeleton = build_skeleton(described)
        assert {n: p.shape for n, p in weights(skeleton).items()} == {n: p.shape for n, p in weights(model).items()}
        assert {p.device.type for p in skeleton.parameters()} == {"meta"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiled_layers_train_as_the_others_do(monkeypatch):
    """With activation checkpointing."""
    monkeypatch.delenv("TORCHDYNAMO_DISABLE")

    def losses(compiled):
        model = build(LLAMA, activation_checkpointing=True, attention="sdpa").train()
        assert not compiled or compile_layers(model)
        assert model._compiled_call_impl is None, "or attention would get a mask, and SDPA could not take flash"
        adam = torch.optim.AdamW(model.parameters(), lr=1e-2)
        ids = torch.randint(0, 97, (2, 8), generator=torch.Generator().manual_seed(0))
        told = []
        for _ in range(2):
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            adam.step()
            adam.zero_grad()
            told.append(float(loss.detach()))
        return told

    torch._dynamo.utils.counters.clear()
    assert losses(True) == pytest.approx(losses(False), rel=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert len(torch._dynamo.utils.counters["graph_break"]) == 0


def test_a_model_that_names_no_layers_is_compiled_as_a_whole():
    model = build(LLAMA)
    model._no_split_modules = None
    assert not compile_layers(model)
    assert all(layer._compiled_call_impl is None for layer in model.model.layers)
