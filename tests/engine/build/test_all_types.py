"""Every causal type of transformers, small: built unit by unit, it is a new model as transformers makes one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TYPES
from transformers.utils import logging

from lrps.engine.build.assembly import assemble
from lrps.engine.build.placement import Placement
from lrps.engine.build.skeleton import make_skeleton
from lrps.engine.build.units import UnfitError, find_units
from lrps.engine.build.values import DrawnValues
from lrps.engine.model import initialised
from lrps.engine.shrink import shrunken

UNFIT = {"apertus", "apertus1p5_text", "openai-gpt", "data2vec-text"}
"""Types with tensors that only a constructor sets; they are built as a whole."""
_ERRORS = 6.0
"""Largest distance of two means or spreads, in standard errors."""
_FEW = 64
"""Number of elements below which only means and zeros are compared."""


def small_config(kind: str) -> Any:
    """Return the config of the smallest copy of a type that transformers builds. Skip the test if there is none."""
    logging.set_verbosity_error()
    try:
        config = AutoConfig.for_model(kind)
    except Exception as error:
        pytest.skip(f"no default config: {type(error).__name__}")
    for values in shrunken(config, 2):
        try:
            small = type(config).from_dict(values)
            with torch.device("meta"):
                size = sum(each.numel() for each in initialised(copy.deepcopy(small), 0).parameters())
        except Exception:  # Whatever a class of transformers raises for sizes that do not fit.
            continue
        if size < 1e8:
            return small
    pytest.skip("transformers builds no copy")


def compare(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors whose distributions differ."""
    assert list(ours) == list(theirs)
    return [name for name in theirs if not alike(ours[name].detach().double(), theirs[name].detach().double())]


def alike(one: Tensor, other: Tensor) -> bool:
    # Among millions of random numbers in fp32 a few are zero.
    zeros = abs(int((one == 0).sum()) - int((other == 0).sum()))
    if one.shape != other.shape or zeros > _ERRORS * (2e-6 * other.numel()) ** 0.5:
        return False
    if not other.numel() or torch.equal(one, other):
        return True
    spread, count = max(float(one.std(correction=0)), float(other.std(correction=0))), other.numel()
    if abs(one.mean() - other.mean()) > _ERRORS * spread * (2 / count) ** 0.5:
        return False
    apart = abs(one.std(correction=0) - other.std(correction=0))
    return count < _FEW or bool(apart <= _ERRORS * spread * (2 / count) ** 0.5)


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_it_is_a_new_model_of_transformers(kind: str) -> None:
    config = small_config(kind)
    if kind in UNFIT:
        with pytest.raises(UnfitError, match="only its constructor does"):
            find_units(make_skeleton(config))
        return
    units = find_units(make_skeleton(config))
    ours = assemble(make_skeleton(config), units, DrawnValues(1), Placement())
    again = assemble(make_skeleton(config), units[::-1], DrawnValues(1), Placement())
    theirs = initialised(config, 1)
    assert compare(dict(ours.named_parameters()), dict(theirs.named_parameters())) == []
    buffers = dict(ours.named_buffers())
    assert list(buffers) == [name for name, _ in theirs.named_buffers()]
    assert [name for name, values in theirs.named_buffers() if not torch.equal(buffers[name], values)] == []
    assert all(torch.equal(values, again.state_dict()[name]) for name, values in ours.state_dict().items())
