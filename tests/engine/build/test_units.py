"""Units of a model, found without values: what is initialised together, and which types cannot be built in units."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from lrps.engine.build.skeleton import make_skeleton
from lrps.engine.build.units import UnfitError, find_units

SIZES = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
GPT2 = {"model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}
UNFIT = {
    "apertus": ({**SIZES, "model_type": "apertus"}, "does not set model.layers.0.mlp.act_fn.alpha_p and 3 more"),
    "openai-gpt": ({**GPT2, "model_type": "openai-gpt"}, "does not set transformer.h.0.attn.c_attn.weight"),
}


def units_of(architecture: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return first tensor of each unit -> all of its tensors."""
    return {unit.tensors[0]: unit.tensors for unit in find_units(make_skeleton(AutoConfig.for_model(**architecture)))}


@pytest.mark.parametrize("architecture", [{**SIZES, "model_type": "llama"}, GPT2], ids=lambda each: each["model_type"])
def test_every_tensor_is_in_one_unit_in_the_order_of_the_model(architecture: dict[str, Any]) -> None:
    config = AutoConfig.for_model(**architecture)
    units, model = find_units(make_skeleton(config)), make_skeleton(config).model
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    assert sorted(name for unit in units for name in unit.tensors) == sorted(names)
    first = [unit.tensors[0] for unit in units if unit.tensors[0] in dict(model.named_parameters())]
    assert first == sorted(first, key=names.index)


def test_a_linear_layer_is_a_unit_of_its_own() -> None:
    llama = units_of({**SIZES, "model_type": "llama"})
    assert {tensors for tensors in llama.values() if len(tensors) > 1} == {
        ("model.rotary_emb.inv_freq", "model.rotary_emb.original_inv_freq")
    }
    assert units_of(GPT2)["transformer.h.0.ln_1.weight"] == ("transformer.h.0.ln_1.weight", "transformer.h.0.ln_1.bias")


def test_what_two_modules_write_is_one_unit_that_calls_both_in_their_order() -> None:
    """The mixer of mamba sets the bias of its projection, which the projection itself sets to zero before."""
    units = find_units(make_skeleton(AutoConfig.for_model("mamba", vocab_size=97, hidden_size=32, num_hidden_layers=1)))
    (unit,) = (unit for unit in units if "backbone.layers.0.mixer.A_log" in unit.tensors)
    assert "backbone.layers.0.mixer.dt_proj.bias" in unit.tensors
    assert unit.modules[-1] == "backbone.layers.0.mixer"
    assert "backbone.layers.0.mixer.dt_proj" in unit.modules[:-1]


@pytest.mark.parametrize("kind", UNFIT)
def test_a_type_whose_constructor_alone_sets_tensors_is_named_before_anything_is_drawn(kind: str) -> None:
    architecture, reason = UNFIT[kind]
    with pytest.raises(UnfitError, match=reason):
        units_of(architecture)


def test_an_initialisation_that_needs_values_cannot_be_tried() -> None:
    skeleton = make_skeleton(AutoConfig.for_model(**GPT2))
    skeleton.model._init_weights = lambda module: [parameter.item() for parameter in module.parameters()]
    with pytest.raises(UnfitError, match="cannot be tried without values"):
        find_units(skeleton)
