"""Which states a command means."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.export.states import chosen_states
from lrps.plan.plan import Plan


def chosen(plan: Plan, *names: str, **options: Any) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(state.path.name, state.step, state.versions) for state in chosen_states(plan, names, **options)]


def test_a_path_means_its_release(plan: Plan) -> None:
    assert chosen(plan, "branch-v2", "cpt-v1") == [("branch-v2", 40, ("v2",)), ("cpt-v1", 20, ("v1",))]


def test_a_version_means_every_path_that_releases_it(plan: Plan) -> None:
    assert chosen(plan, version="v2") == [("branch-v2", 40, ("v2",)), ("cpt-v2", 40, ("v2",))]
    assert chosen(plan, "cpt-v2", version="v2") == [("cpt-v2", 40, ("v2",))]


def test_a_step_may_be_one_that_is_no_release(plan: Plan) -> None:
    assert chosen(plan, "main", step=28) == [("main", 28, ())]
    assert chosen(plan, "branch-v2", step=40) == [("branch-v2", 40, ("v2",))]


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        (["branch-v9"], {}, "the plan has no path branch-v9; it has main, branch-v1"),
        ([], {"version": "v9"}, "--version v9: the config has v1, v2"),
        ([], {}, "name the paths to export, or give --version"),
        ([], {"step": 28, "version": "v1"}, "name the paths to export"),
        (["main"], {}, "main releases no version; export one of its saved steps with --step: 8, 28"),
        (["branch-v1"], {"version": "v2"}, "branch-v1 releases not v2"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    plan: Plan, names: list[str], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        chosen_states(plan, names, **options)
    assert told in str(raised.value)
