"""A run directory that was copied elsewhere still knows its plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.costs.planned.plan_document import write_plan_json
from lrps.costs.recorded_plan import recorded_plan
from lrps.plan.plan import make_plan


def test_a_copy_without_config_shards_and_checkpoints_costs_the_same(make: Any, formulas: Any, tmp_path: Path) -> None:
    paradigms = {"ptfs": {}, "cpt": {}, "path-switching": {"alpha_per_version": {"v2": 0.3}}}
    plan = make(hardware=formulas.PRICED, paradigms=paradigms)
    formulas.Run(plan).train(["ptfs-v1", "main", "branch-v1"], stop_at={"main": 900})
    write_plan_json(plan)
    original = make_comparison(plan)
    copy = tmp_path / "else where"
    shutil.copytree(plan.layout.run_dir, copy, ignore=shutil.ignore_patterns("checkpoints", "branch_points"))
    shutil.rmtree(plan.layout.run_dir)
    comparison = make_comparison(recorded_plan(copy))
    assert list(comparison.paradigms) == ["ptfs", "cpt", "path-switching"], "in the order of the config"
    assert comparison.plan.run_dir == str(copy)
    assert comparison.graph.measured == original.graph.measured
    for name, paradigm in comparison.paradigms.items():
        before = original.paradigms[name]
        assert paradigm.estimate == before.estimate
        assert [release.cost for release in paradigm.releases] == [release.cost for release in before.releases]


def test_increments_are_those_of_the_shards_not_of_the_config(tiny_config: Path, tmp_path: Path) -> None:
    config = load_config(tiny_config, [f"runs={tmp_path}"])
    plan = make_plan(config)
    write_plan_json(plan)
    recorded = recorded_plan(config.run_dir)
    assert recorded.increments == plan.increments
    assert recorded.graph == plan.graph
    assert recorded.manifests == {}


def test_costs_do_not_need_the_checkpoint_that_the_model_came_from(make: Any, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model"
    checkpoint.mkdir()
    shape = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 257}
    (checkpoint / "config.json").write_text(json.dumps(shape))
    plan = make(model={"checkpoint": checkpoint})
    flops = plan.costs.flops_per_token
    write_plan_json(plan)
    shutil.rmtree(checkpoint)
    assert flops
    assert recorded_plan(plan.layout.run_dir).costs.flops_per_token == flops


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"config": {"name": "x"}, "plan": {}}', '{"config": null, "plan": null}']
)
def test_a_damaged_plan_json_names_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ConfigError, match=r"plan\.json: damaged, or of another version of lrps; give the run's config"):
        recorded_plan(tmp_path)


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no plan\.json, so it is no run.*give its config file"):
        recorded_plan(tmp_path)
