from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.start.families import FAMILIES, TOKENS_PER_PARAMETER, sized_model


@given(st.sampled_from(sorted(FAMILIES)), st.floats(1, 1e13), st.sampled_from([257, 4096, 32000]), st.floats(1, 100))
def test_a_model_fits_its_text_and_grows_with_it(family: str, tokens: float, vocabulary: int, more: float) -> None:
    smallest = sized_model(family, 0, vocabulary, 64).parameters
    found = sized_model(family, tokens, vocabulary, 64).parameters
    assert found == smallest or found * TOKENS_PER_PARAMETER <= tokens
    assert found <= sized_model(family, tokens * more, vocabulary, 64).parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parameters_are_those_of_the_model_that_is_built(family: str) -> None:
    from lrps.config.models import ModelConfig
    from lrps.engine.model import build_model

    sized = sized_model(family, 2e7, 512, 128)
    assert sized.parameters > 300_000, "a larger shape than the smallest"
    model = build_model(ModelConfig(architecture=sized.architecture), seed=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == sized.parameters
