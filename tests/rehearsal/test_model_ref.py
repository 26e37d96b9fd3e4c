"""Which models rehearse: directories, releases of the plan, and what cannot be one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError, GenerationError
from lrps.config.loader import load_config
from lrps.plan.plan import Plan, make_plan
from lrps.rehearsal.model_ref import base_model, ensure_exported, is_available, latest_model
from lrps.rehearsal.outline import find_set

SetPlan = Callable[..., Plan]


def latest(plan: Plan):
    return latest_model(plan, find_set(plan, "r"))


def test_the_latest_model_is_the_release_before(set_plan: SetPlan) -> None:
    plan = set_plan(base=None, latest=None)
    found = latest(plan)
    assert found.name == found.label == "path-switching/v1"
    assert found.release.path == "branch-v1"
    assert base_model(plan, find_set(plan, "r")) == found, "a plan from scratch has no theta(0) of its own"
    assert found.directory.is_relative_to(plan.layout.run_dir / "rehearsal")
    assert not is_available(plan, found)
    with pytest.raises(
        GenerationError, match=r"path-switching/v1 is not trained yet: branch-v1 has no state at step 20"
    ):
        ensure_exported(plan, found, "r")


def test_any_release_may_be_named(set_plan: SetPlan) -> None:
    assert latest(set_plan(latest="cpt/v1")).release.path == "cpt-v1"


def test_a_directory_is_known_by_what_it_holds(set_plan: SetPlan, latest_model: Path) -> None:
    found = latest(set_plan())
    assert found.release is None
    assert found.identity["name"] == "latest"
    assert len(found.identity["weights_sha256"]) == len(found.identity["tokenizer_sha256"]) == 64
    assert str(latest_model) not in str(found.identity)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("nowhere/at-all", "neither the directory of a Hugging Face model nor a release of this plan"),
        ("path-switching/v9", "path-switching releases no version v9; it has v1, v2"),
    ],
)
def test_what_is_no_model_is_told(set_plan: SetPlan, name: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"data.rehearsal.r.synthesis.latest: .*{fault}"):
        latest(set_plan(latest=name))


def test_a_model_is_not_trained_on_what_it_writes(set_plan: SetPlan, tmp_path: Path) -> None:
    set_plan(latest="cpt/v2")
    mixed = load_config(tmp_path / "config.yaml", ["paradigms.cpt.mix={new: 0.8, rehearsal: 0.2}"])
    with pytest.raises(ConfigError, match=r"a model that is itself trained on r; let an earlier version write it"):
        latest(make_plan(mixed))


def test_a_server_has_the_base_model(set_plan: SetPlan) -> None:
    plan = set_plan(base=None, generator={"url": "http://127.0.0.1:9/v1", "model": "theta"})
    assert base_model(plan, find_set(plan, "r")) is None


def test_a_main_path_that_reads_the_set_waits_for_it(set_plan: SetPlan, tmp_path: Path) -> None:
    """With main_mix: version 1 forks off before the main path comes to the set, but is not trained alone."""
    set_plan(latest=None)
    mixed = load_config(tmp_path / "config.yaml", ["paradigms.path-switching.main_mix={new: 0.8, rehearsal: 0.2}"])
    plan = make_plan(mixed)
    assert "r" in plan.graph.by_name["main"].sources
    found = latest(plan)
    assert found.name == "path-switching/v1", "it forks before"
    with pytest.raises(GenerationError, match=r"not trained yet: .*but main also reads sequences of r.*add them"):
        ensure_exported(plan, found, "r")
