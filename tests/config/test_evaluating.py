"""The keys of evaluation: what is refused, and how it is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from lrps.config.models import Config

PAIRS = {"name": "pairs", "version": "v1", "pairs": "pairs.jsonl"}


@pytest.mark.parametrize(
    ("evaluation", "why"),
    [
        ({"tasks": [{**PAIRS, "version": "v9"}]}, "evaluation.tasks.pairs: v9 is no version; "),
        ({"tasks": [{**PAIRS, "template": "Q: {question}"}]}, "a template needs {input} where the input goes"),
        ({"tasks": [PAIRS, PAIRS]}, "names of tasks must differ: pairs appears more than once"),
        ({"tasks": [PAIRS], "lm_eval": {"tasks": ["pairs"]}}, "names of tasks must differ: pairs"),
        ({"tasks": [{**PAIRS, "max_new_tokens": 0}]}, "greater than or equal to 1"),
        ({"lm_eval": {"tasks": []}}, "at least 1 item"),
        ({"lm_eval": {"tasks": ["a", "a"]}}, "name each task once"),
        ({"lm_eval": {"tasks": ["a"], "batch_size": 4}}, "Extra inputs"),
    ],
)
def test_what_is_refused(make_config: Callable[..., Config], evaluation: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        make_config(evaluation=evaluation)
    assert why in str(refused.value)


def test_a_prompt_is_like_the_papers(make_config: Callable[..., Config]) -> None:
    (task,) = make_config(evaluation={"tasks": [PAIRS]}).evaluation.tasks
    assert task.template == "Input: {input}\nOutput:"
