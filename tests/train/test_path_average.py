"""The average of a main path: since when it has been made, and what is left of it in files and records."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lrps.audit.run import audit_run
from lrps.base.errors import LineageError
from lrps.base.step_set import StepSet
from lrps.config.loader import load_config
from lrps.engine.state_files.reading import open_state
from lrps.ledger.reader import EMA, RAW, evaluations, read_ledger
from lrps.ledger.records import Record
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import path_status
from lrps.store.checkpoints import Checkpoint, find
from lrps.train import job
from support.plain_engine import PlainEngine, before_steps, run

ON = "average={ema: {horizon: 0.5}}"
RELEASED = "paradigms={path-switching: {alpha: 0.6, release_first: false}}"
"""Version 1 is the main path after its 20 steps."""
EVERY_STEP = "checkpoint={every_steps: 5, keep_every_steps: 5}"
Make = Callable[..., Plan]


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make("key=value", ..., runs="runs") -> the tiny plan with its main path, with its run below tmp_path."""
    return lambda *settings, runs="runs": make_plan(
        load_config(tiny_config, [f"runs={tmp_path / runs}", EVERY_STEP, RELEASED, *settings])
    )


def main(plan: Plan) -> str:
    return next(path.name for path in plan.graph.paths if path.kind == "main")


def state(plan: Plan, step: int, kind: str = "fp32", name: str | None = None) -> dict[str, torch.Tensor]:
    with open_state(find(plan.layout.path(name or main(plan)), step).directory) as stored:
        return {parameter: stored.read(parameter, kind) for parameter in stored.shapes}


def saved(plan: Plan, step: int) -> Checkpoint:
    return find(plan.layout.path(main(plan)), step)


def starts(plan: Plan) -> list[Record]:
    return [record for record in read_ledger(plan.layout.path(main(plan)).ledger) if record.kind == "start"]


def path_json(plan: Plan, name: str | None = None) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(plan.layout.path(name or main(plan)).path_json.read_text())
    return values


def by_formula(weights: dict[int, dict[str, torch.Tensor]], step: int, since: int) -> dict[str, torch.Tensor]:
    """The average after a step in fp64: what it was at step `since`, and the weights of later multiples of 10."""
    average = {name: value.double() for name, value in weights[since].items()}
    for t in range(since + 1, step + 1):
        if t % 10 == 0:
            beta = (1 - 1 / max(10, 0.5 * t)) ** 10
            average = {name: beta * value + (1 - beta) * weights[t][name] for name, value in average.items()}
    return average


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name].double() - other[name]).abs().max()) for name in one)


def test_a_main_path_averages_and_nothing_else_changes(make: Make, tmp_path: Path) -> None:
    off, on = make(runs="off"), make(ON, runs="on")
    for plan in (off, on):
        assert run(plan, *(path.name for path in plan.graph.paths))
    stop = on.graph.by_name[main(on)].stop
    for kind in ("fp32", "exp_avg", "exp_avg_sq"):
        for path in on.graph.paths:
            one, other = (state(plan, path.stop, kind, path.name) for plan in (off, on))
            assert all(torch.equal(one[name], other[name]) for name in one), (path.name, kind)
    assert path_json(on)["average"] == {"ema": {"horizon": 0.5}}
    assert saved(on, stop).identity["average"] == {"ema": {"horizon": 0.5, "every": 10, "since": 0}}
    assert [record.facts["ema_since"] for record in starts(on)] == [0]
    average = by_formula({10: state(on, 10, "ema"), 20: state(on, 20)}, 20, since=10)
    assert apart(state(on, 20, "ema"), average) < 2e-7 < 1e-3 < apart(state(on, 20), average)
    for plan in (on, off):
        assert audit_run(plan.layout.run_dir).ok
    branch = next(path.name for path in on.graph.paths if path.kind == "branch")
    assert path_json(off).keys() == path_json(on).keys() - {"average"} == path_json(on, branch).keys()
    without = [find(plan.layout.path(branch), on.graph.by_name[branch].stop) for plan in (on, off)]
    assert without[0].manifest["files"].keys() == without[1].manifest["files"].keys()
    assert all("average" not in each.identity for each in (*without, saved(off, stop)))
    with pytest.raises(Exception, match="lacks elements 0 to .* of ema"):
        state(on, on.graph.by_name[branch].stop, "ema", branch)
    assert "ema_since" not in starts(off)[0].facts


@pytest.mark.parametrize("steps", [2, 12, 17])
def test_a_path_that_is_interrupted_has_the_average_of_the_straight_one(make: Make, steps: int) -> None:
    whole, cut = make(ON, runs="whole"), make(ON, runs="cut")
    assert run(whole, main(whole))
    assert not run(cut, main(cut), stop_after=steps)
    assert run(cut, main(cut))
    one, other = (saved(plan, plan.graph.by_name[main(plan)].stop).manifest for plan in (whole, cut))
    assert (
        one["files"]["fragments-00000-of-00001.safetensors"] == other["files"]["fragments-00000-of-00001.safetensors"]
    )
    assert [record.facts["ema_since"] for record in starts(cut)] == [0, 0]


def test_a_kill_between_two_saves_loses_no_bit_of_it(make: Make) -> None:
    whole, cut = make(ON, runs="whole"), make(ON, runs="cut")
    assert run(whole, main(whole))

    class Killed(BaseException):
        pass

    def die(step: int) -> None:
        if step == 13:
            raise Killed

    with pytest.raises(Killed), before_steps(die):
        run(cut, main(cut))
    assert run(cut, main(cut))
    assert [record.step for record in starts(cut)] == [0, 10]
    one, other = (saved(plan, 20).manifest["files"]["fragments-00000-of-00001.safetensors"] for plan in (whole, cut))
    assert one == other


def test_a_path_that_was_begun_without_one_begins_it_from_its_weights(make: Make) -> None:
    plan = make()
    assert not run(plan, main(plan), stop_after=7)
    before = plan.layout.path(main(plan)).path_json.read_bytes()
    later = make(ON)
    assert not run(later, main(later), stop_after=2)
    assert [record.facts.get("ema_since") for record in starts(later)] == [None, 7]
    step = max(int(each.name[-8:]) for each in later.layout.path(main(later)).checkpoints.glob("step-*"))
    assert 7 < step < 10
    held = state(later, 7)
    assert all(torch.equal(value, held[name]) for name, value in state(later, step, "ema").items())
    assert path_json(later) == {**json.loads(before), "average": {"ema": {"horizon": 0.5}}}
    assert run(later, main(later))
    assert [record.facts.get("ema_since") for record in starts(later)] == [None, 7, 7]
    average = by_formula({7: held, 10: state(later, 10), 20: state(later, 20)}, 20, since=7)
    assert apart(state(later, 20, "ema"), average) < 2e-7
    assert audit_run(later.layout.run_dir).ok


def test_a_path_with_one_is_continued_without_it(make: Make) -> None:
    on = make(ON)
    assert not run(on, main(on), stop_after=7)
    assert run(make(), main(on))
    straight = make(runs="straight")
    assert run(straight, main(straight))
    stop = on.graph.by_name[main(on)].stop
    one, other = (saved(plan, stop).manifest["files"] for plan in (on, straight))
    assert one["fragments-00000-of-00001.safetensors"] == other["fragments-00000-of-00001.safetensors"]
    assert path_json(on)["average"] == {"ema": {"horizon": 0.5}}, "the rule of the saved states that have one"


def test_the_rule_of_an_average_never_changes(make: Make) -> None:
    on = make(ON)
    assert not run(on, main(on), stop_after=7)
    with pytest.raises(
        LineageError, match=r"`average\.ema\.horizon`: the run was begun with 0\.5, the config says 0\.1"
    ):
        run(make("average={ema: {horizon: 0.1}}"), main(on))
    assert path_status(make("average={ema: {}}"), on.graph.by_name[main(on)]).state == "foreign"


def test_the_average_is_evaluated_where_the_path_is(make: Make) -> None:
    on, off = make(ON, runs="on"), make(runs="off")
    for plan in (on, off):
        assert run(plan, main(plan))
    found, alone = (evaluations(read_ledger(plan.layout.path(main(plan)).ledger)) for plan in (on, off))
    assert {(20, "v1"), (20, "v2")} <= {(key.step, key.heldout) for key in alone}
    assert all(key.form == RAW for key in alone)
    assert {key: value.loss for key, value in found.items() if key.form == RAW} == {
        key: value.loss for key, value in alone.items()
    }
    averaged = {key: value for key, value in found.items() if key.form == EMA}
    assert {key._replace(form=RAW) for key in averaged} == alone.keys(), "at the same steps, on the same sets"
    assert all(value.loss != found[key._replace(form=RAW)].loss for key, value in averaged.items())
    assert path_status(on, on.graph.by_name[main(on)]).state == "complete"


def test_an_average_is_evaluated_once_it_has_reached_its_horizon(make: Make) -> None:
    plan = make()
    assert not run(plan, main(plan), stop_after=12)
    later = make(ON)
    assert run(later, main(later))
    found = evaluations(read_ledger(later.layout.path(main(later)).ledger))
    steps = {form: {key.step for key in found if key.form == form} for form in (RAW, EMA)}
    assert steps == {RAW: {20, 28}, EMA: {28}}, "it began at step 12; its horizon is 10 steps, and 14 at step 28"


@pytest.mark.parametrize("judged", [False, True], ids=["left out", "judged"])
def test_steps_that_pass_without_an_update_are_averaged_like_all_others(
    make: Make, judged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make(ON, *(["guard.action=skip"] if judged else []))
    passing = [9, 10, 19]
    start_path = job.start_path

    def start(plan: Plan, path: Any, *arguments: Any, **more: Any) -> Any:
        return replace(start_path(plan, path, *arguments, **more), skips=StepSet.of([(step, step) for step in passing]))

    if judged:
        monkeypatch.setattr(PlainEngine, "above", staticmethod(lambda step: math.nan if step in passing else 0.0))
    else:
        monkeypatch.setattr(job, "start_path", start)
    assert run(plan, main(plan))
    assert saved(plan, 20).identity["skipped"] == [[9, 10], [19, 19]]
    average = by_formula({10: state(plan, 10, "ema"), 20: state(plan, 20)}, 20, since=10)
    assert apart(state(plan, 20, "ema"), average) < 2e-7
    assert apart(state(plan, 10, "ema"), state(plan, 5, "ema")) > 1e-4, "updated after step 10, which passed"
