"""What trackers are told, and that none of them can hurt training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.config.tracking import TrackConfig
from lrps.ledger.metrics import Metrics
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.plan.plan import Plan, make_plan
from lrps.store.marks import mark_run, read_mark
from lrps.track import trackers
from lrps.track.tracker import TrackedPath
from lrps.track.trackers import (
    Rates,
    Spent,
    Trackers,
    check_trackers,
    heldout_values,
    open_trackers,
    path_tags,
    train_values,
)

POINT = Metrics(step=10, tokens=160, loss=2.5, lr=1e-3, grad_norm=None, tokens_per_second=50.0)


class Noted:
    """A tracker that keeps what it is told, and fails in one of the calls."""

    name = "noted"

    def __init__(self, fails_in: str = "") -> None:
        self.fails_in = fails_in
        self.told: list[object] = []

    def start(self, step: int) -> None:
        self._note("start", step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._note("log", (step, dict(values)))

    def finish(self, exit_code: int, ledger_sha256: str) -> None:
        self._note("finish", (exit_code, ledger_sha256))

    def _note(self, call: str, what: object) -> None:
        if call == self.fails_in:
            raise RuntimeError("no route to host")
        self.told.append(what)


def drive(trackers: Trackers) -> None:
    trackers.start(9)
    trackers.log(POINT, Spent(1.0, 100))
    trackers.log(replace(POINT, step=11), Spent(2.0, 200))
    trackers.log_evaluation(11, 176, {"v1": {"loss": 2.0, "bits_per_byte": None}})
    trackers.finish(1, "5ea1")


def test_what_is_not_known_has_no_key() -> None:
    assert train_values(POINT, Spent(0.5), Rates()) == {
        "tokens": 160,
        "train/loss": 2.5,
        "train/lr": 1e-3,
        "train/tokens_per_second": 50.0,
        "cost/device_hours": 0.5,
    }


def test_money_and_utilisation_come_from_price_and_peak() -> None:
    values = train_values(replace(POINT, grad_norm=0.25), Spent(0.5, 7), Rates(3.0, 6, 1200.0))
    assert values.items() >= {"cost/money": 1.5, "cost/flops": 7, "train/mfu": 0.25, "train/grad_norm": 0.25}.items()


def test_an_evaluation_is_named_by_its_heldout_set() -> None:
    values = heldout_values(160, {"v1": {"loss": 2.0, "bits_per_byte": 3.0, "rows": 4}, "v2": {"loss": 1.0}})
    assert values == {"tokens": 160, "heldout/v1/loss": 2.0, "heldout/v1/bits_per_byte": 3.0, "heldout/v2/loss": 1.0}
    capped = heldout_values(160, {"v1": {"loss": 2.0, "first_rows": {"rows": 3, "loss": 1.5}}})
    assert capped == {"tokens": 160, "heldout/v1/loss": 2.0, "heldout/v1/first_rows/loss": 1.5}


def test_costs_go_on_from_earlier_attempts() -> None:
    noted = Noted()
    drive(Trackers([noted], before=Spent(10.0, 1000)))
    start, first, second, evaluation, code = noted.told
    assert (start, code) == (9, (1, "5ea1"))
    assert [(step, values["cost/device_hours"], values["cost/flops"]) for step, values in (first, second)] == [
        (10, 11.0, 1100),
        (11, 12.0, 1200),
    ]
    assert evaluation == (11, {"tokens": 176, "heldout/v1/loss": 2.0})


@pytest.mark.parametrize("call", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_told_once_and_the_others_go_on(call: str) -> None:
    said: list[str] = []
    failing, other = Noted(call), Noted()
    drive(Trackers([failing, other], said.append))
    assert said == ["noted: no route to host; training continues without it, metrics.jsonl has everything"]
    assert len(other.told) == 5
    assert len(failing.told) == {"start": 0, "log": 1, "finish": 4}[call]


def test_a_missing_package_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    check_trackers(TrackConfig(trackers=("wandb", "tensorboard", "trackio")))
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "trackio" else "there")
    check_trackers(TrackConfig(trackers=("wandb", "tensorboard")))
    with pytest.raises(ConfigError, match=r"trackio is not installed; run `pip install 'lrps\[trackio\]'`"):
        check_trackers(TrackConfig(trackers=("wandb", "trackio")))


@pytest.fixture
def small(make_config: Callable[..., Config]) -> Config:
    return make_config()


def plan_below(directory: Path, small: Config, *names: str) -> Plan:
    hardware = {"device": "A100", "price_per_device_hour": {"amount": 2.0, "source": "me", "date": "2026-01-01"}}
    changes = {"runs": directory, "track": {"trackers": names}, "hardware": hardware}
    return make_plan(Config.model_validate({**small.model_dump(mode="json"), **changes}))


def test_no_trackers_are_opened_unless_asked_for(tmp_path: Path, small: Config) -> None:
    plan = plan_below(tmp_path, small)
    trackers = open_trackers(plan, plan.graph.by_name["main"], lineage={}, devices=2, say=print)
    drive(trackers)
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_tagged_with_its_paradigms_and_what_it_releases(make_config: Callable[..., Config]) -> None:
    early = {"kind": "path-switching", "alpha": 0.3}
    graph = make_plan(make_config(paradigms={"path-switching": {}, "early": early, "ptfs": {}})).graph
    assert path_tags(graph, "main") == ("path-switching", "early")
    assert path_tags(graph, "branch-v2") == ("path-switching", "v2")
    assert path_tags(graph, "ptfs-v3") == ("ptfs", "v3")


def test_a_path_is_tracked_with_its_config_its_lineage_and_what_it_cost(
    tmp_path: Path, small: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def note(name: str, track: TrackConfig, path: TrackedPath, say: Any) -> Noted:
        opened.append((name, track, path))
        return Noted()

    plan = plan_below(tmp_path, small, "tensorboard", "wandb", "trackio")
    path = plan.graph.by_name["branch-v2"]
    layout = plan.layout.path(path.name)
    mark_run(plan.layout)
    run_mark = read_mark(plan.layout.run_json)
    layout.directory.mkdir()
    layout.path_json.write_text('{"mark": "5eed0002"}')
    ledger = LedgerWriter(layout.ledger)
    facts = {"format": FORMAT, "path_start": path.start, "device": "cpu", "processes": 2}
    ledger.append("start", path.start, Counters(), **facts, price_per_device_hour=None)
    ledger.append("stop", path.stop, Counters(allocated_seconds=7200.0, flops=5), outcome="interrupted")
    ledger.close()
    noting = {name: partial(note, name) for name in trackers.OPENERS}
    monkeypatch.setattr(trackers, "OPENERS", noting)
    group = open_trackers(plan, path, lineage={"parent": "main"}, devices=2, say=print)
    noted = group._trackers[0]
    drive(group)
    assert [name for name, *_ in opened] == ["tensorboard", "wandb", "trackio"]
    tracked = opened[0][2]
    assert (tracked.plan, tracked.path, tracked.job) == ("small", "branch-v2", "branch")
    assert (tracked.group, tracked.mark) == (f"small-{run_mark}", "5eed0002")
    assert (tracked.start, tracked.tags) == (path.start, ("path-switching", "v2"))
    assert tracked.config["lineage"] == {"parent": "main"}
    assert tracked.config["seed"] == 7
    _, values = noted.told[1]
    assert values.items() >= {"cost/device_hours": 3.0, "cost/flops": 105, "cost/money": 6.0}.items()
    per_token = plan.costs.flops_per_token
    assert per_token is not None
    assert values["train/mfu"] == pytest.approx(50.0 * per_token / (2 * 312e12))
