"""What a set would be made of, before anything is generated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.base.document import to_json
from lrps.base.errors import ConfigError, DataError
from lrps.config.loader import load_config
from lrps.plan.plan import Plan, make_plan
from lrps.rehearsal.outline import find_set, outline, print_outline

SetPlan = Callable[..., Plan]


def test_it_counts_what_would_be_generated(set_plan: SetPlan) -> None:
    plan = set_plan(demonstration_share=0.1)
    documents = plan.manifests["v1"].documents
    drawn = round(0.1 * documents)
    found = outline(plan, "r")
    assert found.demonstrations.drawn == drawn
    assert found.generations.possible == drawn * (drawn - 1) * 3
    # Documents of more than 24 tokens, of which a generation has at most so many: 3 x 320 / 24.
    assert found.generations.wanted == min(40, found.generations.possible)
    assert found.most_generated_tokens == found.generations.wanted * 24 * 2
    assert (found.rows, found.tokens, found.made) == (20, 320, False)


@pytest.mark.parametrize(("generations", "wanted"), [(7, 7), (10**6, 60)])
def test_generations_are_what_is_asked_and_possible(set_plan: SetPlan, generations: int, wanted: int) -> None:
    plan = set_plan(generations=generations, demonstration_share=5 / 48)
    found = outline(plan, "r").generations
    assert found.wanted == min(wanted, found.possible)


def test_it_is_written_as_json(set_plan: SetPlan) -> None:
    plan = set_plan()
    document = to_json(outline(plan, "r"))
    assert list(document)[:7] == ["set", "made", "kind", "since", "of", "base", "latest"]
    assert (document["set"], document["of"]["v1"]["documents"]) == ("r", plan.manifests["v1"].documents)
    assert document["base"].keys() == {"name", "path", "there"}
    served = set_plan(base=None, refine=False, generator={"url": "http://h/v1?k=s", "model": "m"})
    document = to_json(outline(served, "r"))
    assert document["base"] == {"name": "m", "url": "http://h/v1?...", "there": None}
    assert document["latest"] is None


def test_without_tokens_the_ratio_says_how_much(set_plan: SetPlan) -> None:
    plan = set_plan(tokens=None, ratio=0.26)
    assert plan.rows["v1"] == 80
    assert plan.rows["r"] == outline(plan, "r").rows == 20


def test_it_is_shown_to_people(set_plan: SetPlan, capsys: pytest.CaptureFixture[str]) -> None:
    print_outline(outline(set_plan(base=None, latest=None), "r"))
    text = capsys.readouterr().out
    assert "path-switching/v1 (branch-v1): not trained yet" in text
    assert "wanted          20 sequences, 320 tokens, selected by kmeans" in text
    print_outline(outline(set_plan(base=None, refine=False, generator={"url": "http://h/v1?k=s", "model": "m"}), "r"))
    text = capsys.readouterr().out
    assert re.search(r"base model +m at http://h/v1\?\.\.\.\n", text)
    assert "none: outputs are not refined" in text


def test_what_is_no_set_is_told(set_plan: SetPlan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data.rehearsal has no set v1 with a `synthesis`; sets with one: r"):
        find_set(set_plan(), "v1")
    unbuilt = make_plan(load_config(tmp_path / "config.yaml", [f"data.root={tmp_path / 'empty'}"]))
    with pytest.raises(DataError, match="the rehearsed version v1 has no shards; run `lrps data build CONFIG`"):
        outline(unbuilt, "r")
