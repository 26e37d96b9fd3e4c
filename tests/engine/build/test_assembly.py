"""Models made unit by unit: equal for everyone who makes values, and never whole in host memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from lrps.engine.build.assembly import assemble
from lrps.engine.build.placement import Placement
from lrps.engine.build.skeleton import Skeleton, make_skeleton
from lrps.engine.build.units import Unit, find_units
from lrps.engine.build.values import DrawnValues
from lrps.engine.model import initialised

_SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2}
CONFIGS = {
    "tied llama": AutoConfig.for_model(
        "llama", **_SIZES, intermediate_size=48, num_attention_heads=4, tie_word_embeddings=True
    ),
    "gpt2": AutoConfig.for_model("gpt2", vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "a tied head with a bias of its own": AutoConfig.for_model("phi", **_SIZES, num_attention_heads=4),
}
CONFIGS["a tied head with a bias of its own"].tie_word_embeddings = True


class Recorded(DrawnValues):
    """Values of a seed, with the names of the tensors that were filled."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.names: list[str] = []

    def fill(self, skeleton: Skeleton, unit: Unit) -> None:
        super().fill(skeleton, unit)
        self.names.extend(unit.tensors)


def built(
    kind: str, placement: Placement | None = None, values: DrawnValues | None = None, backwards: bool = False
) -> Any:
    units = find_units(make_skeleton(CONFIGS[kind]))
    units = units[::-1] if backwards else units
    return assemble(make_skeleton(CONFIGS[kind]), units, values or DrawnValues(1), placement or Placement())


@pytest.mark.parametrize("kind", CONFIGS)
def test_names_order_ties_and_buffers_are_those_of_transformers(kind: str) -> None:
    ours, theirs = built(kind), initialised(CONFIGS[kind], 1)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [(n, p.shape) for n, p in theirs.named_parameters()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for (name, one), (other, buffer) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert name == other
        assert torch.equal(one, buffer)
    with torch.no_grad():
        assert ours(input_ids=torch.tensor([[1, 2, 3]])).logits.isfinite().all()


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_order_of_units_changes_nothing(kind: str) -> None:
    backwards = built(kind, backwards=True).state_dict()
    assert all(torch.equal(values, backwards[name]) for name, values in built(kind).state_dict().items())


@pytest.mark.parametrize("kind", CONFIGS)
def test_parameters_are_rounded_and_buffers_are_not(kind: str) -> None:
    rounded, whole = built(kind, Placement(dtype=torch.bfloat16)), built(kind)
    for one, other in zip(rounded.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other.bfloat16())
    assert all(torch.equal(one, other) for one, other in zip(rounded.buffers(), whole.buffers(), strict=True))


@pytest.mark.parametrize("kind", CONFIGS)
def test_who_makes_no_values_has_the_buffers_and_memory_of_the_right_type(kind: str) -> None:
    values = Recorded(1)
    waiting = built(kind, Placement(dtype=torch.bfloat16, fills=False), values)
    assert set(values.names) == {name for name, _ in waiting.named_buffers()}
    whole = built(kind)
    assert [(p.shape, p.dtype) for p in waiting.parameters()] == [(p.shape, torch.bfloat16) for p in whole.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(waiting.buffers(), whole.buffers(), strict=True))


@pytest.mark.parametrize("kind", CONFIGS)
def test_one_unit_is_in_host_memory_while_the_others_leave_it(kind: str) -> None:
    """Every parameter is handed over once, and tied ones with what they are tied to."""
    skeleton, units = make_skeleton(CONFIGS[kind]), find_units(make_skeleton(CONFIGS[kind]))
    handed_over: list[int] = []
    in_memory: list[int] = []

    def leave(parameters: Sequence[nn.Parameter]) -> None:
        everything = (*skeleton.model.parameters(), *parameters)
        in_memory.append(sum(p.numel() for p in {id(p): p for p in everything}.values() if p.device.type == "cpu"))
        for parameter in parameters:
            handed_over.append(parameter.numel())
            parameter.data = torch.empty(0)

    sizes = {name: each.numel() for name, each in skeleton.model.named_parameters()}
    largest = max(sum(sizes.get(name, 0) for name in unit.tensors) for unit in units)
    model = assemble(skeleton, units, DrawnValues(1), Placement(partition=leave))
    assert 0 < max(in_memory) <= largest + max(sizes[name] for name in (*skeleton.ties, next(iter(sizes))))
    assert len(handed_over) == len(list(model.parameters()))
    assert sum(handed_over) == sum(p.numel() for p in built(kind).parameters())
