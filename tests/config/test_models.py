"""Fields and their rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from lrps.config.loader import parse_yaml
from lrps.config.models import Config
from lrps.config.strategies import Cpt
from support.values import config_values


def test_a_config_cannot_change() -> None:
    config = Config.model_validate(config_values())
    with pytest.raises(ValidationError):
        config.seed = 3  # type: ignore[misc]


def test_a_name_that_is_a_kind_needs_no_kind() -> None:
    config = Config.model_validate(config_values(paradigms={"ptfs": None, "mine": {"kind": "cpt"}}))
    assert {name: strategy.kind for name, strategy in config.paradigms.items()} == {"ptfs": "ptfs", "mine": "cpt"}


REDUCE_SCATTER = {"zero_optimization": {"reduce_scatter": True}}
SHARED: dict[str, Any] = {"engine": {"sequence_parallel": 2}, "launch": {"processes": 4}}
"""Four processes, of which two share each sequence."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {}}, "exactly one of 'architecture' and 'checkpoint'"),
        ({"model": {"architecture": {"hidden_size": 3}}}, "needs model_type and vocab_size"),
        ({"model": {"checkpoint": "hf", "initial_state": "step-00000480"}}, "give its model as 'architecture'"),
        ({"model": {"initial_state": "step-00000480"}}, "exactly one of 'architecture' and 'checkpoint'"),
        ({"engine": {"precision": "bf16", "zero_stage": 0}}, "use zero_stage 1"),
        (
            {"engine": {"attention": "flash_attention_2"}},
            r"attention flash_attention_2 computes in bf16 only: use precision bf16, or sdpa",
        ),
        ({"schedule": {"peak_lr": 1e-3, "final_lr": 1e-2}}, "is above peak_lr"),
        ({"track": {"trackers": ["wandb", "wandb"]}}, "name each tracker once"),
        ({"track": {"trackers": ["comet"]}}, "must be one of wandb, tensorboard, trackio"),
        ({"track": {"wandb": {"mode": "off"}}}, "'offline' or 'online'"),
        ({"paradigms": {}}, "at least 1"),
        (
            {"paradigms": {"path-switching": {"alpha_per_version": {"v9": 1}}}},
            "alpha_per_version.v9 is no version; the versions are v1",
        ),
        (
            {"paradigms": {"ptfs": {"steps_of": "ptfs"}, "cpt": {}}},
            "paradigms.ptfs.steps_of: 'ptfs' is not another paradigm of this config: cpt",
        ),
        (
            {"paradigms": {"cpt": {}, "a": {"kind": "ptfs", "steps_of": "cpt"}, "ptfs": {"steps_of": "a"}}},
            "paradigms.ptfs.steps_of: a has steps_of itself",
        ),
        ({"paradigms": {"path-switching": {"mix": {"new": 0.9}, "decay": "linear"}}}, None),
        ({"paradigms": {"path-switching": {"mix": {"new": 0, "replay": 1}}}}, "new must be above 0"),
        (
            {"paradigms": {"path-switching": {"mix": {"new": 0.5, "replay": 0.4}}}},
            "must be 1 .new is 1 unless it is given., not 0.9",
        ),
        (
            {"paradigms": {"cpt": {"mix_per_version": {"v11": {"new": 1.0}}}}},
            "paradigms.cpt.mix_per_version.v11 is no version; did you mean 'v1'?",
        ),
        (
            {"paradigms": {"cpt": {"mix": {"new": 0.9, "rehearsal": 0.1}}}},
            "there is no rehearsal data; add a set to data.rehearsal, or give the share",
        ),
        (
            {"paradigms": {"cpt": {"mix_per_version": {"v2": {"new": 0.9, "rehearsal": 0.1}}}}},
            "paradigms.cpt: its mix has a share of rehearsal",
        ),
        ({"launch": {"launcher": "deepspeed"}}, "needs 'hostfile'"),
        ({"launch": {"resources": {"main": {"nodes": 2}}}}, "resources.main.nodes 2: launcher local starts on this"),
        ({"launch": {"resources": {"main": {"processes": 4}}}}, "launch.resources.main: batch.sequences 2 does not"),
        (
            {"launch": {"launcher": "slurm", "processes": 2, "resources": {"cpt": {"nodes": 2}}}},
            "launch.resources.cpt: batch.sequences 2 does not divide over 4 processes",
        ),
        ({"launch": {"processes": 3}}, "launch.processes: batch.sequences 2 does not divide over 3 processes"),
        ({"engine": {"sequence_parallel": 0}}, "greater than or equal to 1"),
        ({"engine": {"sequence_parallel": 2}}, "launch.processes: engine.sequence_parallel 2 does not divide 1 proc"),
        ({**SHARED, "batch": {"sequences": 3}}, "batch.sequences 3 does not divide over 2 groups of 2 processes"),
        ({**SHARED, "batch": {"sequences": 6, "micro_sequences": 2}}, "does not divide the 3 sequences of a group"),
        ({**SHARED, "engine": {"sequence_parallel": 4, "attention": "eager"}}, "attends with sdpa only, not eager"),
        ({**SHARED, "engine": {"sequence_parallel": 4, "compile": True}}, "compile were not tried together"),
        (
            {**SHARED, "engine": {"sequence_parallel": 4, "zero_stage": 3, "deepspeed": REDUCE_SCATTER}},
            "deepspeed.zero_optimization.reduce_scatter: with sequence_parallel at zero_stage 3",
        ),
        ({**SHARED, "optimizer": {"kind": "muon"}}, "optimizer.kind muon were not tried together"),
        (
            {"engine": {"sequence_parallel": 3}, "launch": {"processes": 3}},
            "engine.sequence_parallel 3 does not divide data.sequence_length 8",
        ),
        ({"checkpoint": {"keep_every_steps": 100}}, "keeps what every_steps saves, which is None"),
        ({"checkpoint": {"keep_every_steps": 100, "every_steps": 30}}, "which is 30; make it a multiple of that"),
        ({"checkpoint": {"every_minutes": 0}}, "greater than 0"),
        ({"checkpoint": {"keep_hours": 0}}, "greater than 0"),
        ({"hardware": {"device": "cpu", "mtbf_hours_per_device": 0}}, "greater than 0"),
        ({"hardware": {"device": "cpu", "save_gb_per_second": 0}}, "greater than 0"),
        ({"name": "../elsewhere"}, "match pattern"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str | None) -> None:
    with pytest.raises(ValidationError, match=message or "must be 1"):
        Config.model_validate(config_values(**changes))


@pytest.mark.parametrize(
    "launch",
    [
        {"resources": {"wsd-s": {"processes": 4}}},
        {"launcher": "deepspeed", "hostfile": "hosts", "processes": 4},
        {"launcher": "slurm", "resources": {"main": {"nodes": 2}}},
    ],
    ids=["a kind that the plan does not have", "the hostfile says how many", "two nodes"],
)
def test_who_shares_a_batch_is_known_only_for_some(launch: dict[str, Any]) -> None:
    Config.model_validate(config_values(launch=launch))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": {"sequences": True}},
        {"batch": {"sequences": "4"}},
        {"schedule": {"peak_lr": "3e-4"}},
        {"schedule": {"peak_lr": float("inf")}},
        {"paradigms": {"ptfs": {"alpha": True}}},
        {"paradigms": {"ptfs": {"alpha": float("nan")}}},
        {"launch": {"processes": 3}},
        {"batch": {"sequences": 2, "micro_sequences": 4}},
        {"paradigms": {"path-switching": {"alpha_of": "steps"}}},
        {"paradigms": {"path-switching": {"alpha": 1.5, "alpha_of": "steps-so-far"}}},
        {"paradigms": {"ptfs": {"decay": "multi-step", "final_lr": 1e-4}}},
        {"paradigms": {"cpt": {"restart": "constant", "alpha": 0.5}}},
    ],
    ids=str,
)
def test_nonsense_is_not_accepted(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(config_values(**changes))


def rehearsing(*sets: dict[str, Any], **paradigms: Any) -> Config:
    data = {**config_values()["data"], "rehearsal": sets}
    return Config.model_validate(config_values(data=data, **({"paradigms": paradigms} if paradigms else {})))


def test_rehearsal_sets_are_sources_but_no_versions() -> None:
    config = rehearsing({"name": "r", "since": "v2", "tokens": 80})
    assert [version.name for version in config.data.versions] == ["v1", "v2", "v3", "v4"]
    assert [source.name for source in config.data.sources] == ["v1", "v2", "v3", "v4", "r"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "v1", "since": "v2", "tokens": 80}, "v1 appears more than once"),
        ({"name": "r", "since": "v11", "tokens": 80}, "rehearsal.r.since: v11 is no version; did you mean 'v1'"),
        ({"name": "r", "since": "v9", "tokens": 80}, "rehearsal.r.since: v9 is no version; the versions are v1"),
    ],
)
def test_rehearsal_sets_that_fit_nowhere_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        rehearsing(wrong)


def test_a_version_before_any_set_cannot_be_given_a_share_by_name() -> None:
    mixes = {"mix_per_version": {"v2": {"new": 0.9, "rehearsal": 0.1}}}
    with pytest.raises(ValidationError, match=r"mix_per_version\.v2: there is no rehearsal data before version v3"):
        rehearsing({"name": "r", "since": "v3", "tokens": 80}, cpt=mixes)


def test_the_mix_of_a_version() -> None:
    mixes = {"mix": {"new": 0.9, "replay": 0.1}, "mix_per_version": {"v3": {"new": 0.5, "rehearsal": 0.5}}}
    cpt = rehearsing({"name": "r", "since": "v1", "tokens": 80}, cpt=mixes).paradigms["cpt"]
    assert isinstance(cpt, Cpt)
    assert [cpt.mix_of(v).new for v in ("v1", "v3", "not in the config")] == [0.9, 0.5, 0.9]


def test_version_names_must_differ() -> None:
    data = {"root": "x", "sequence_length": 8, "versions": [{"name": "v1", "tokens": 9}, {"name": "v1", "tokens": 9}]}
    with pytest.raises(ValidationError, match="v1 appears more than once"):
        Config.model_validate(config_values(data=data))


def test_the_schema_for_editors_is_the_models(repository: Path) -> None:
    """Regenerate with `make schema`."""
    stored = json.loads((repository / "configs" / "schema.json").read_text())
    assert stored == json.loads(json.dumps(Config.model_json_schema()))


@pytest.mark.parametrize("name", ["demo", "drift", "llama-1.2b", "unequal"])
def test_the_schema_accepts_the_shipped_configs(repository: Path, name: str) -> None:
    validator = jsonschema.Draft202012Validator(Config.model_json_schema())
    document, _ = parse_yaml((repository / "configs" / f"{name}.yaml").read_text(), name)
    assert [error.message for error in validator.iter_errors(document)] == []
    document["batch"]["sequenses"] = 3
    document["paradigms"]["mine"] = {"alpha": 0.3}
    wrong = {error.json_path for error in validator.iter_errors(document)}
    assert wrong == {"$.batch", "$.paradigms.mine"}


def test_every_key_is_described() -> None:
    """A key without a description shows an empty help in an editor; sections describe themselves."""
    schema = Config.model_json_schema()
    for name in (
        "DataConfig",
        "Version",
        "BatchConfig",
        "EngineConfig",
        "PathSwitching",
        "CheckpointConfig",
        "LaunchConfig",
    ):
        section = schema["$defs"][name]
        assert section["description"]


def test_processes_that_share_sequences_may_be_more_than_sequences() -> None:
    config = Config.model_validate(config_values(**SHARED))
    assert config.batch.sequences == 2
    assert [config.rows_each(processes) for processes in (2, 4)] == [2, 1]
    zero = {"reduce_scatter": True, "overlap_comm": True}
    engine = {"sequence_parallel": 4, "zero_stage": 2, "attention": "sdpa", "deepspeed": {"zero_optimization": zero}}
    Config.model_validate(config_values(engine=engine, launch={"processes": 4}))


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"extra": {"r9": 0.1}}, "mix.r9 is no kind of sequences, rehearsal set or version; did you mean 'r1'"),
        ({"new": 0.9, "rehersal": 0.1}, "did you mean 'rehearsal'"),
        ({"new": 0.9, "r1": 0.2}, r"new \+ replay \+ rehearsal \+ r1 must be 1"),
        ({"extra": {"r1": 0}}, "greater than 0"),
    ],
)
def test_shares_of_names_are_checked(mix: dict[str, Any], message: str) -> None:
    values = config_values(paradigms={"path-switching": {"mix": mix}})
    values["data"]["rehearsal"] = [{"name": "r1", "since": "v2", "tokens": 80}]
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(values)


def test_a_mix_by_name_comes_back() -> None:
    mix = {"new": 0.8, "r1": 0.1, "v1": 0.1, "extra": {"r1": 0.1}}
    values = config_values(paradigms={"path-switching": {"mix": mix}})
    values["data"]["rehearsal"] = [{"name": "r1", "since": "v2", "tokens": 80}]
    config = Config.model_validate(values)
    assert Config.model_validate(config.model_dump()) == config
    values["paradigms"] = {"cpt": {"mix_per_version": {"v1": {"extra": {"r1": 0.1}}}}}
    with pytest.raises(ValidationError, match="v1 cannot read it, only later versions"):
        Config.model_validate(values)
    values["paradigms"] = {"path-switching": {"main_mix": {"extra": {"r1": 0.1}}}}
    with pytest.raises(ValidationError, match="the main path keeps its steps"):
        Config.model_validate(values)
