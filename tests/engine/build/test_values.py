"""Values of units: new weights are a function of the seed and the module's name alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoConfig

from lrps.engine.build.skeleton import Skeleton, make_skeleton
from lrps.engine.build.units import Unit, find_units
from lrps.engine.build.values import DrawnValues, PlaceholderValues, Values

_SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2}
CONFIGS = {
    kind: AutoConfig.for_model(kind, **values)
    for kind, values in {
        "llama": {**_SIZES, "intermediate_size": 48, "num_attention_heads": 4, "vocab_size": 4099},
        "gpt2": {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        "mamba": _SIZES,
    }.items()
}
UNITS = {kind: find_units(make_skeleton(config)) for kind, config in CONFIGS.items()}


def filled(kind: str, values: Values, units: list[Unit] | None = None) -> dict[str, Tensor]:
    """Return name -> values of these units, set one after the other."""
    skeleton = make_skeleton(CONFIGS[kind])
    units = list(UNITS[kind]) if units is None else units
    for unit in units:
        fill(skeleton, unit, values)
    return {name: skeleton.tensor(name) for unit in units for name in unit.tensors}


def fill(skeleton: Skeleton, unit: Unit, values: Values) -> None:
    for name in unit.tensors:
        skeleton.set_tensor(name, torch.empty_like(skeleton.tensor(name), device="cpu"))
    values.fill(skeleton, unit)


TRUTH = {kind: filled(kind, DrawnValues(1)) for kind in CONFIGS}


@settings(max_examples=12)
@given(st.data(), st.sampled_from(sorted(CONFIGS)), st.integers(1, 2))
def test_values_depend_on_no_order_no_other_unit_and_no_number_of_threads(
    data: st.DataObject, kind: str, threads: int
) -> None:
    units = data.draw(st.lists(st.sampled_from(UNITS[kind]), unique=True, min_size=1))
    before, in_use = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = filled(kind, DrawnValues(1), units)
    finally:
        torch.set_num_threads(in_use)
    assert all(torch.equal(values, TRUTH[kind][name]) for name, values in found.items())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", CONFIGS)
def test_another_seed_or_module_gives_other_values(kind: str) -> None:
    """But for those that are no random numbers, such as the ones of a norm."""
    other = filled(kind, DrawnValues(2))
    random = [name for name, values in TRUTH[kind].items() if not torch.equal(values, other[name])]
    assert any("0" in name for name in random)
    for name in random:
        twin = name.replace(".0.", ".1.")
        if twin != name:
            assert not torch.equal(TRUTH[kind][name], TRUTH[kind][twin])


@pytest.mark.parametrize("kind", CONFIGS)
def test_values_are_distributed_as_those_of_transformers(kind: str) -> None:
    from lrps.engine.model import initialised

    theirs: Any = initialised(CONFIGS[kind], 1)
    for name, values in (*theirs.named_parameters(), *theirs.named_buffers()):
        ours, error = TRUTH[kind][name], float(values.detach().float().std(correction=0)) / values.numel() ** 0.5
        assert ours.float().mean().item() == pytest.approx(values.detach().float().mean().item(), abs=6 * error + 1e-9)
        assert ours.float().std(correction=0).item() == pytest.approx(error * values.numel() ** 0.5, abs=6 * error)


def test_a_tensor_that_stays_without_a_value_is_an_error() -> None:
    skeleton, unit = make_skeleton(CONFIGS["llama"]), UNITS["llama"][0]
    skeleton.model.model._init_weights = lambda module: module.weight[1:].zero_()
    with pytest.raises(RuntimeError, match=r"model\.embed_tokens\.weight: transformers does not initialise all of it"):
        fill(skeleton, unit, DrawnValues(1))


def test_placeholders_are_spread_like_weights_and_differ_from_each_other() -> None:
    found = filled("llama", PlaceholderValues(1))
    embedding, head = found["model.embed_tokens.weight"], found["lm_head.weight"]
    assert embedding.numel() > 1 << 16
    for values in (embedding, head):
        assert values.std().item() == pytest.approx(0.02, rel=0.02)
        assert len(values.unique(dim=0)) == len(values)
    assert not torch.equal(embedding, head)
    assert not torch.equal(embedding, TRUTH["llama"]["model.embed_tokens.weight"])


@pytest.mark.parametrize("kind", CONFIGS)
def test_placeholders_leave_buffers_and_small_tensors_as_those_of_a_new_model(kind: str) -> None:
    found = filled(kind, PlaceholderValues(1))
    small = {name for name, values in found.items() if values.numel() <= 1 << 16}
    assert {name for name in found if torch.equal(found[name], TRUTH[kind][name])} == small
