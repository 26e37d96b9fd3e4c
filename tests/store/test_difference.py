"""Whether every difference between a run and a config is named by its config key, with both values."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import LrpsError
from lrps.config.models import Config, ScheduleConfig
from lrps.config.optimizing import AdamWConfig
from lrps.config.strategies import Cpt, PathSwitching, Ptfs, WsdS
from lrps.plan.plan import Plan, make_plan
from lrps.store.conventions import NEWEST
from lrps.store.difference import TRAINING_KEYS, source_differences
from lrps.store.identity import check_identity, identity_differences
from support.values import config_values

ARCHITECTURE = config_values()["model"]["architecture"]
VERSIONS = config_values()["data"]["versions"]
SETS = [{"name": "r1", "tokens": 800, "since": "v2"}]

Changes = dict[str, Any]
"""Dotted key of a config -> value; None removes the key."""

PEAKS = "peak_lr_per_version"
KEYS: tuple[tuple[str, Changes, Changes, str, str, str], ...] = (
    # path, what the run was begun with, what the config says, key, both values as the two configs have them
    ("main", {}, {"seed": 8}, "seed", "7", "8"),
    ("main", {}, {"model.architecture.hidden_size": 32}, "model.architecture.hidden_size", "16", "32"),
    ("main", {}, {"model.architecture.rope_theta": 5.0}, "model.architecture.rope_theta", "null", "5.0"),
    ("main", {}, {"model": {"checkpoint": "there"}}, "model.checkpoint", "null", "there"),
    ("main", {}, {"optimizer.betas": [0.9, 0.99]}, "optimizer.betas", "[0.9, 0.95]", "[0.9, 0.99]"),
    ("main", {}, {"optimizer.eps": 1e-7}, "optimizer.eps", "1e-08", "1e-07"),
    ("main", {}, {"optimizer.weight_decay": 0.0}, "optimizer.weight_decay", "0.1", "0.0"),
    ("main", {}, {"optimizer.no_weight_decay": ["norms"]}, "optimizer.no_weight_decay", "[]", '["norms"]'),
    ("main", {}, {"optimizer.kind": "lion"}, "optimizer.kind", "adamw", "lion"),
    ("main", {}, {"optimizer.clip_grad_norm": None}, "optimizer.clip_grad_norm", "1.0", "null"),
    ("main", {}, {"batch.sequences": 4}, "batch.sequences", "2", "4"),
    ("main", {}, {"data.sequence_length": 16}, "data.sequence_length", "8", "16"),
    ("main", {}, {"data.order": "window"}, "data.order", "full", "window"),
    ("main", {}, {"data.order_seed": 9}, "data.order_seed", "null", "9"),
    ("main", {"data.order_seed": 9}, {"data.order_seed": 7}, "data.order_seed", "9", "7"),
    ("main", {}, {"engine.precision": "bf16"}, "engine.precision", "fp32", "bf16"),
    (
        "main",
        {},
        {"data.attention_across_documents": False},
        "data.attention_across_documents",
        "true",
        "false",
    ),
    (
        "main",
        {"guard": {"action": "skip"}},
        {"guard": {"action": "skip", "window": 100}},
        "guard.window",
        "200",
        "100",
    ),
    ("main", {}, {"guard": {"action": "skip"}}, "guard", "null", '{"action": "skip"'),
    (
        "main",
        {"average": {"ema": {"horizon": 0.1}}},
        {"average": {"ema": {"horizon": 0.2}}},
        "average.ema.horizon",
        "0.1",
        "0.2",
    ),
    ("main", {}, {"model.initial_state": "there"}, "model.initial_state", "null", "there"),
    ("main", {}, {"schedule.peak_lr": 2e-2}, "schedule.peak_lr", "0.01", "0.02"),
    ("branch-v2", {}, {"schedule.peak_lr": 2e-2}, "schedule.peak_lr", "0.01", "0.02"),
    ("cpt-v3", {}, {"schedule.peak_lr": 2e-2}, "schedule.peak_lr", "0.01", "0.02"),
    ("branch-v2", {}, {"schedule.final_lr": 1e-3}, "schedule.final_lr", "0.0", "0.001"),
    ("main", {}, {"schedule.warmup_steps": 9}, "schedule.warmup_steps", "5", "9"),
    ("ptfs-v3", {}, {"schedule.warmup_steps": 9}, "schedule.warmup_steps", "5", "9"),
    ("main", {}, {"schedule.power_coefficient": 0.1}, "schedule.power_coefficient", "null", "0.1"),
    (
        "main",
        {"schedule.power_coefficient": 0.1},
        {"schedule.power_coefficient": 0.05},
        "schedule.power_coefficient",
        "0.1",
        "0.05",
    ),
    *(
        (name, {}, {f"paradigms.{paradigm}.peak_lr": 2e-2}, f"paradigms.{paradigm}.peak_lr", "null", "0.02")
        for name, paradigm in (("main", "path-switching"), ("ptfs-v2", "ptfs"), ("cpt-v2", "cpt"), ("w-v2", "w"))
    ),
    *(
        (f"{name}-v2", {}, {f"paradigms.{name}.{PEAKS}": {"v2": 2e-2}}, f"paradigms.{name}.{PEAKS}.v2", "unset", "0.02")
        for name in ("ptfs", "cpt")
    ),
    ("branch-v2", {}, {"paradigms.path-switching.alpha": 0.5}, "paradigms.path-switching.alpha", "0.6", "0.5"),
    (
        "branch-v2",
        {},
        {"paradigms.path-switching.alpha_per_version": {"v2": 0.5}},
        "paradigms.path-switching.alpha_per_version.v2",
        "unset",
        "0.5",
    ),
    (
        "branch-v2",
        {"paradigms.path-switching.alpha": 0.5},
        {"paradigms.path-switching.alpha": 0.5, "paradigms.path-switching.alpha_of": "steps-so-far"},
        "paradigms.path-switching.alpha_of",
        "increment",
        "steps-so-far",
    ),
    (
        "branch-v2",
        {},
        {"paradigms.path-switching.decay": "1-sqrt"},
        "paradigms.path-switching.decay",
        "linear",
        "1-sqrt",
    ),
    (
        "branch-v2",
        {},
        {"paradigms.path-switching.decay": "multi-step"},
        "paradigms.path-switching.decay",
        "linear",
        "multi-step",
    ),
    (
        "branch-v2",
        {},
        {"paradigms.path-switching.final_lr": 1e-3},
        "paradigms.path-switching.final_lr",
        "null",
        "0.001",
    ),
    (
        "branch-v2",
        {},
        {"paradigms.path-switching.optimizer": "reset"},
        "paradigms.path-switching.optimizer",
        "carry",
        "reset",
    ),
    (
        "branch-v2",
        {},
        {"paradigms.path-switching.branch_data": "whole"},
        "paradigms.path-switching.branch_data",
        "rest",
        "whole",
    ),
    (
        "branch-v2",
        {},
        {"paradigms.path-switching.mix": {"new": 0.9, "replay": 0.1}},
        "paradigms.path-switching.mix",
        '{"new": 1.0, "replay": 0.0, "rehearsal": 0.0}',
        '{"new": 0.9, "replay": 0.1, "rehearsal": 0.0}',
    ),
    (
        "branch-v2",
        {},
        {"paradigms.path-switching.mix_per_version": {"v2": {"new": 0.9, "replay": 0.1}}},
        "paradigms.path-switching.mix_per_version.v2",
        "unset",
        '{"new": 0.9, "replay": 0.1, "rehearsal": 0.0}',
    ),
    (
        "main",
        {},
        {"paradigms.path-switching.main_mix": {"new": 0.9, "replay": 0.1}},
        "paradigms.path-switching.main_mix",
        '{"new": 1.0, "replay": 0.0, "rehearsal": 0.0}',
        '{"new": 0.9, "replay": 0.1, "rehearsal": 0.0}',
    ),
    (
        "cpt-v2",
        {"data.rehearsal": SETS},
        {"data.rehearsal": SETS, "paradigms.cpt.mix": {"new": 0.9, "rehearsal": 0.1}},
        "paradigms.cpt.mix",
        '{"new": 1.0, "replay": 0.0, "rehearsal": 0.0}',
        '{"new": 0.9, "replay": 0.0, "rehearsal": 0.1}',
    ),
    ("ptfs-v2", {}, {"paradigms.ptfs.alpha": 0.5}, "paradigms.ptfs.alpha", "1.0", "0.5"),
    ("ptfs-v2", {}, {"paradigms.ptfs.alpha_of": "increment"}, "paradigms.ptfs.alpha_of", "steps-so-far", "increment"),
    (
        "ptfs-v2",
        {},
        {"paradigms.ptfs.alpha_per_version": {"v2": 0.5}},
        "paradigms.ptfs.alpha_per_version.v2",
        "unset",
        "0.5",
    ),
    ("ptfs-v2", {}, {"paradigms.ptfs.decay": "linear"}, "paradigms.ptfs.decay", "cosine", "linear"),
    ("ptfs-v2", {}, {"paradigms.ptfs.final_lr": 1e-3}, "paradigms.ptfs.final_lr", "null", "0.001"),
    ("cpt-v2", {}, {"paradigms.cpt.alpha": 0.5}, "paradigms.cpt.alpha", "1.0", "0.5"),
    (
        "cpt-v2",
        {},
        {"paradigms.cpt.alpha_of": "steps", "paradigms.cpt.alpha": 40},
        "paradigms.cpt.alpha_of",
        "increment",
        "steps",
    ),
    (
        "cpt-v2",
        {},
        {"paradigms.cpt.alpha_per_version": {"v2": 0.5}},
        "paradigms.cpt.alpha_per_version.v2",
        "unset",
        "0.5",
    ),
    ("cpt-v2", {}, {"paradigms.cpt.decay": "linear"}, "paradigms.cpt.decay", "cosine", "linear"),
    ("cpt-v2", {}, {"paradigms.cpt.final_lr": 1e-3}, "paradigms.cpt.final_lr", "null", "0.001"),
    ("cpt-v2", {}, {"paradigms.cpt.rewarm_steps": 9}, "paradigms.cpt.rewarm_steps", "null", "9"),
    ("cpt-v2", {}, {"schedule.warmup_steps": 9}, "schedule.warmup_steps", "5", "9"),
    ("cpt-v2", {}, {"paradigms.cpt.restart": "constant"}, "paradigms.cpt.restart", "rewarm", "constant"),
    (
        "cpt-v2",
        {"schedule.final_lr": 1e-3},
        {"schedule.final_lr": 1e-3, "paradigms.cpt.restart": "continue"},
        "paradigms.cpt.restart",
        "rewarm",
        "continue",
    ),
    (
        "cpt-v2",
        {"schedule.final_lr": 1e-3, "paradigms.cpt.restart": "continue"},
        {"schedule.final_lr": 1e-3, "paradigms.cpt.restart": "constant"},
        "paradigms.cpt.restart",
        "continue",
        "constant",
    ),
    ("cpt-v2", {}, {"paradigms.cpt.optimizer": "carry"}, "paradigms.cpt.optimizer", "reset", "carry"),
    (
        "cpt-v2",
        {},
        {"paradigms.cpt.mix_per_version": {"v2": {"new": 0.5, "replay": 0.5}}},
        "paradigms.cpt.mix_per_version.v2",
        "unset",
        '{"new": 0.5, "replay": 0.5, "rehearsal": 0.0}',
    ),
    ("w-v2", {}, {"paradigms.w.alpha": 0.5}, "paradigms.w.alpha", "0.6", "0.5"),
    ("w-v2", {}, {"paradigms.w.alpha_of": "steps-so-far"}, "paradigms.w.alpha_of", "increment", "steps-so-far"),
    ("w-v2", {}, {"paradigms.w.alpha_per_version": {"v2": 0.5}}, "paradigms.w.alpha_per_version.v2", "unset", "0.5"),
    ("w-v2", {}, {"paradigms.w.decay": "exponential"}, "paradigms.w.decay", "inverse", "exponential"),
    ("w-v2", {}, {"paradigms.w.final_lr": 2e-3}, "paradigms.w.final_lr", "0.001", "0.002"),
    ("w-v2", {}, {"paradigms.w.optimizer": "reset"}, "paradigms.w.optimizer", "carry", "reset"),
    ("main", {}, {"data.versions": [VERSIONS[0], VERSIONS[2]]}, "data.versions", "v1, v2, v3", "v1, v3"),
    (
        "main",
        {},
        {"data.versions": [VERSIONS[0], VERSIONS[2], VERSIONS[1]]},
        "data.versions",
        "v1, v2, v3",
        "v1, v3, v2",
    ),
    ("ptfs-v4", {}, {"data.versions": [VERSIONS[0], VERSIONS[3]]}, "data.versions", "v1, v2, v3", "v1, v4"),
    (
        "main",
        {},
        {"data.versions": [VERSIONS[0], {"name": "v2", "tokens": 800}, *VERSIONS[2:]]},
        "data.versions.v2.tokens",
        "1600",
        "800",
    ),
    (
        "ptfs-v2",
        {},
        {"data.versions": [VERSIONS[0], {"name": "v2", "tokens": 1600, "epochs": 2}, *VERSIONS[2:]]},
        "data.versions.v2.epochs",
        "1.0",
        "2.0",
    ),
    (
        "ptfs-v2",
        {},
        {"paradigms.ptfs.steps_of": "cpt"},
        "paradigms.ptfs.steps_of",
        "null",
        "cpt",
    ),
    (
        "cpt-v2",
        {},
        {"data.versions": [{"name": "v1", "tokens": 800}, *VERSIONS[1:]]},
        "data.versions",
        "200 steps up to the end of cpt-v2",
        "150 steps up to the end of cpt-v2",
    ),
)
"""One case for every key of a config that a begun path can contradict."""
NOT_IN_PATHS = {"kind", "release_first", "release", "release_per_version"}
"""Keys of strategies that change which paths there are, not what a path of one name is."""
INTERNAL = re.compile(r"pieces|segments|lr_start|lr_stop|sha256:|training\.|path\.|sources\.|_rows|\bthere\b")


def plan_of(changes: Changes, runs: Path) -> Plan:
    """Return the plan of a small config with some keys changed, with a run directory below `runs`."""
    values = config_values(runs=str(runs))
    values["paradigms"]["w"] = {"kind": "wsd-s", "final_lr": 1e-3}
    values["engine"] = {}
    values["optimizer"] = {}
    for key, value in changes.items():
        *parents, last = key.split(".")
        inner = values
        for parent in parents:
            inner = inner[parent]
        inner[last] = copy.deepcopy(value)
    return make_plan(Config.model_validate(values))


def begin(plan: Plan, name: str, record: bool) -> Path:
    """Write the path.json of a path, and with `record` the plan.json of its run, as the begin of a run does."""
    layout = plan.layout.path(name)
    layout.directory.mkdir(parents=True)
    layout.path_json.write_text(json.dumps(plan.identity(plan.graph.by_name[name])))
    if record:
        plan.layout.plan_json.write_text(json.dumps({"config": plan.config.model_dump(mode="json")}))
    return layout.path_json


def lines(path_json: Path, plan: Plan, name: str) -> list[str]:
    """Return the lines about differences that the refusal of a path has."""
    with pytest.raises(LrpsError) as caught:
        check_identity(path_json, plan.identity(plan.graph.by_name[name]), plan.config)
    first, *differences, _ = str(caught.value).splitlines()
    assert first.endswith("was made by another plan:")
    return [line.strip() for line in differences]


@pytest.mark.parametrize(("name", "begun", "changes", "key", "old", "new"), KEYS)
def test_the_config_key_is_named_with_both_values(
    tmp_path: Path, name: str, begun: Changes, changes: Changes, key: str, old: str, new: str
) -> None:
    path_json = begin(plan_of(begun, tmp_path), name, record=True)
    found = lines(path_json, plan_of(changes, tmp_path), name)
    assert any(line.startswith(f"`{key}`: the run was begun with {old}, the config says {new}") for line in found), (
        found
    )
    asked = {changed for changed in changes if begun.get(changed, ...) != changes[changed]}
    for line in found:
        named = line[1:].split("`")[0]
        related = any(named.startswith(each) or each.startswith(named) for each in asked)
        assert related or named.startswith("data.versions"), f"names what was not changed: {line}"


@pytest.mark.parametrize(("name", "begun", "changes", "key", "old", "new"), KEYS)
def test_without_the_recorded_config_a_key_of_the_paradigm_or_schedule_is_named_all_the_same(
    tmp_path: Path, name: str, begun: Changes, changes: Changes, key: str, old: str, new: str
) -> None:
    path_json = begin(plan_of(begun, tmp_path), name, record=False)
    plan = plan_of(changes, tmp_path)
    found = lines(path_json, plan, name)
    config = plan.config.model_dump(mode="json")
    for line in found:
        assert not INTERNAL.search(line), line
        section = line[1:].split("`")[0].split(".")
        assert section[0] in config, line
        assert section[0] != "paradigms" or section[1] in config["paradigms"], line


def test_the_table_has_every_key_that_an_identity_is_made_of() -> None:
    cases = [key for _, _, _, key, _, _ in KEYS]
    trained = [".".join(key) for name, key in TRAINING_KEYS.items() if key and name not in BY_HASH]
    model = [key for key in trained if not any(each.startswith(key) for each in cases)]
    assert model == [], "words without a case"
    for section, kind in (("optimizer", AdamWConfig), ("schedule", ScheduleConfig)):
        assert {f"{section}.{field}" for field in kind.model_fields} <= set(cases)
    strategies = {"path-switching": PathSwitching, "ptfs": Ptfs, "cpt": Cpt, "w": WsdS}
    for name, strategy in strategies.items():
        for field in strategy.model_fields.keys() - NOT_IN_PATHS:
            assert any(each.startswith(f"paradigms.{name}.{field}") for each in cases), f"no case for {name}.{field}"
    plan = plan_of({"average": {"ema": {}}}, Path("runs"))
    identity = plan.identity(plan.graph.by_name["main"])
    assert identity.keys() == {"format", "path", "training", "sources", "average"}
    assert identity["training"].keys() <= TRAINING_KEYS.keys()
    assert NEWEST.keys() <= TRAINING_KEYS.keys()
    assert identity["path"].keys() == {"name", "job", "parent", "start", "stop", "schedule", "segments"}, (
        "give it words"
    )


BY_HASH = ("tokenizer_sha256", "initial_weights")
"""Keys of `training` that are compared by hashes; other tests have them."""


def test_missing_and_moved_versions_are_named(tmp_path: Path) -> None:
    path_json = begin(plan_of({}, tmp_path), "main", record=True)
    expected = {
        (0, 2, 3): "v2 is missing: put it back",
        (0, 2, 1, 3): "v2 came before v3: restore the order",
    }
    for order, note in expected.items():
        plan = plan_of({"data.versions": [VERSIONS[place] for place in order]}, tmp_path)
        (line,) = lines(path_json, plan, "main")
        assert line.endswith(f"; {note}")
    new = plan_of({"data.versions": [VERSIONS[0], {"name": "v0", "tokens": 1600}, *VERSIONS[1:]]}, tmp_path)
    assert lines(path_json, new, "main")[0].endswith("; v0 is new before v2: add new ones at the end")


def test_hashes_are_explained(tmp_path: Path) -> None:
    there = plan_of({}, tmp_path).identity(plan_of({}, tmp_path).graph.by_name["main"])
    old = {**there, "training": {**there["training"], "tokenizer_sha256": "a" * 64, "initial_weights": "b" * 64}}
    new = {**there, "training": {**there["training"], "tokenizer_sha256": "c" * 64, "initial_weights": "d" * 64}}
    weights, tokenizer = map(str, identity_differences(old, new))
    assert tokenizer.startswith("`data.tokenizer`: the run was begun with a tokenizer with SHA-256 aaaaaaaaaaaa, the")
    assert weights.startswith(
        "`model.checkpoint`: the run was begun with weights with SHA-256 bbbbbbbbbbbb, the config"
    )
    assert "put back" in weights
    assert "put back" in tokenizer


def test_what_only_the_version_of_lrps_decides_is_said_to_be_that(tmp_path: Path) -> None:
    there = plan_of({}, tmp_path).identity(plan_of({}, tmp_path).graph.by_name["main"])
    old = {**there, "training": {**there["training"], "row_order": ["feistel/0", "even/0"], "from_later": 3}}
    unknown, order = map(str, identity_differences(old, there))
    assert order.startswith('the order of sequences: the run was begun with ["feistel/0", "even/0"]')
    assert order.endswith("use the version of lrps that began the run")
    assert unknown.startswith("from_later, which this version of lrps does not know: the run was begun with 3")


def test_parts_of_a_mixture_are_named() -> None:
    web = {"name": "v1.web", "manifest_sha256": "1" * 64, "rows": 300, "count": 150}
    code = {"name": "v1.code", "manifest_sha256": "2" * 64, "rows": 80, "count": 50}
    there = {"manifest_sha256": "x", "rows": 200, "parts": [code, web]}
    key = ("data", "versions", "v1")
    (shards,) = source_differences(key, there, {**there, "parts": [code, {**web, "manifest_sha256": "3" * 64}]})
    assert str(shards).startswith("`data.versions.v1.mixture.web`: the run was begun with shards whose manifest is one")
    parts = [{**code, "count": 60}, {**web, "count": 140}]
    shares = [each.what for each in source_differences(key, there, {**there, "parts": parts})]
    assert shares == ["`data.versions.v1.mixture.code.weight`", "`data.versions.v1.mixture.web.weight`"]
    (parts_of,) = source_differences(key, there, {"manifest_sha256": "y", "rows": 200})
    assert str(parts_of) == (
        "`data.versions.v1.mixture`: the run was begun with a mixture of v1.code, v1.web, the config says no mixture"
    )


def changed_twice(seed: int) -> Iterator[Changes]:
    """Yield two random configs, each with some keys of the table changed."""
    rng = random.Random(seed)
    for _ in range(2):
        changes: Changes = {}
        for _, _, more, *_ in rng.sample(KEYS, rng.randint(1, 3)):
            changes |= more
        yield changes


@pytest.mark.parametrize(
    "seeds", [range(20), pytest.param(range(20, 150), marks=pytest.mark.long)], ids=["few", "many"]
)
def test_any_two_configs_differ_in_words_or_not_at_all(seeds: range, tmp_path: Path) -> None:
    tried = 0
    for seed in seeds:
        try:
            old, new = (plan_of(changes, tmp_path / str(seed)) for changes in changed_twice(seed))
        except (LrpsError, ValueError):
            continue  # Some combinations are refused by themselves.
        for name in old.graph.by_name.keys() & new.graph.by_name.keys():
            there, here = (plan.identity(plan.graph.by_name[name]) for plan in (old, new))
            found = [str(each) for each in identity_differences(json.loads(json.dumps(there)), here)]
            paths = [plan.graph.by_name[name] for plan in (old, new)]
            equal = paths[0].extends(paths[1]) or paths[1].extends(paths[0])
            assert bool(found) == (not equal or there["training"] != here["training"]), (seed, name, found)
            assert not any(INTERNAL.search(line) for line in found), found
            tried += 1
    assert tried > 3 * len(seeds)
