"""The section engine.deepspeed: what is passed on, what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.base.errors import ConfigError
from lrps.config.deepspeed.refusals import BREAKS_CHECKPOINTS, BROKEN, CHANGES_TRAINING, DECIDED_BY_LRPS, REFUSED
from lrps.config.deepspeed.settings import DeepSpeedSettings, ZeroSettings
from lrps.config.loader import load_config
from lrps.config.models import Config, EngineConfig
from support.values import config_values


def load(tmp_path: Path, deepspeed: Any, **engine: Any) -> EngineConfig:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(config_values(engine={**engine, "deepspeed": deepspeed}), sort_keys=False))
    return load_config(file).engine


def fault(tmp_path: Path, deepspeed: Any, **engine: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, deepspeed, **engine)
    return str(caught.value)


def nested(key: str, value: Any = 1) -> dict[str, Any]:
    """Return the mapping in which only a dotted key has a value."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def test_settings_are_passed_on_as_deepspeed_reads_them(tmp_path: Path) -> None:
    zero = {"overlap_comm": True, "reduce_bucket_size": "200M", "sub_group_size": 1e9, "allgather_bucket_size": 2}
    given = {"zero_optimization": zero | {"offload_param": {"device": "cpu"}}, "disable_python_gc": True}
    assert load(tmp_path, given, zero_stage=3).passed.as_mapping() == {
        "zero_optimization": {
            "overlap_comm": True,
            "reduce_bucket_size": 200_000_000,
            "allgather_bucket_size": 2,
            "sub_group_size": 1_000_000_000,
            "offload_param": {"device": "cpu"},
        },
        "disable_python_gc": True,
    }


@pytest.mark.parametrize("nothing", [None, {}, {"zero_optimization": None}, {"zero_optimization": {}}])
def test_without_settings_nothing_is_passed_on_or_recorded(tmp_path: Path, nothing: Any) -> None:
    passed = load(tmp_path, nothing).passed
    assert passed.changing_digits() == {}
    assert passed.as_mapping() in ({}, {"zero_optimization": {}})


def test_every_refused_setting_is_refused_with_its_reason_and_all_are_reported(tmp_path: Path) -> None:
    refused = {key if key != "compile" else "compile.passes": reason for key, reason in REFUSED.items()}
    given: dict[str, Any] = {}
    for key in refused:
        section = given
        for part in key.split(".")[:-1]:
            section = section.setdefault(part, {})
        section[key.split(".")[-1]] = {"enabled": True}
    lines = fault(tmp_path, given, zero_stage=3).splitlines()
    said = dict(line.split(": ", 1)[1].split(": ", 1) for line in lines)
    assert said == {f"engine.deepspeed.{key}": reason for key, reason in refused.items()}


def test_a_refusal_says_where(tmp_path: Path) -> None:
    message = fault(tmp_path, nested("zero_optimization.round_robin_gradients", True))
    assert message.startswith(f"{tmp_path / 'c.yaml'}:37:7: engine.deepspeed.zero_optimization.round_robin_gradients: ")


def test_a_reason_says_what_is_wrong_by_its_group() -> None:
    assert all(reason.startswith(("changes what is trained", "is an old name")) for reason in CHANGES_TRAINING.values())
    starts = ("is decided by lrps", "is computed by lrps", "is made by lrps")
    others = ("is not built yet", "is about nvme", "is an old name")
    assert all(reason.startswith(starts + others) for reason in DECIDED_BY_LRPS.values())
    assert all(reason.startswith("breaks checkpoints") for reason in BREAKS_CHECKPOINTS.values())
    assert all(reason.startswith("is broken in DeepSpeed 0.19.8") for reason in BROKEN.values())


def test_lrps_keys_that_reasons_name_exist() -> None:
    schema = Config.model_json_schema()
    for key, reason in REFUSED.items():
        for named in reason.split("`")[1::2]:
            if named.startswith(("lrps", "offload", "device", "communication", "expert", "sequence_parallel", "sum")):
                continue
            section: dict[str, Any] = schema
            for part in named.split(":")[0].split("."):
                options = [section, *section.get("anyOf", ()), *section.get("allOf", ()), *section.get("oneOf", ())]
                targets = [schema["$defs"][each["$ref"].split("/")[-1]] if "$ref" in each else each for each in options]
                found = [target["properties"][part] for target in targets if part in target.get("properties", {})]
                assert found, f"{key} names {named}"
                section = found[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"zero_optimisation": {}}, "unknown key; did you mean 'zero_optimization'?"),
        (
            {"gradient_cliping": 1},
            "did you mean 'gradient_clipping'? That one changes what is trained: give `optimizer.cl",
        ),
        ({"optimiser": {}}, "unknown key; did you mean 'optimizer'? That one is made by lrps: give the section"),
        (nested("zero_optimization.overlap_com"), "unknown key; did you mean 'overlap_comm'?"),
        (nested("zero_optimization.prefetch_bucket_size"), "did you mean 'stage3_prefetch_bucket_size'?"),
        (nested("zero_optimization.offload_optimizer.devise"), "unknown key; did you mean 'device'?"),
        (nested("zero_optimization.offload_optimizer.ration"), "did you mean 'ratio'? That one breaks checkpoints"),
        ({"wxyz": 1}, "no setting of DeepSpeed that lrps knows; known keys: zero_optimization, "),
    ],
)
def test_an_unknown_setting_names_the_nearest_one(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    assert words in fault(tmp_path, given)


@pytest.mark.parametrize(
    ("given", "stage", "words"),
    [
        (
            nested("zero_optimization.offload_optimizer.device", "nvme"),
            1,
            "device: states that DeepSpeed swaps out to nvme",
        ),
        (nested("zero_optimization.offload_param.device", "cpu"), 2, "offload_param needs zero_stage 3"),
        (
            nested("zero_optimization.offload_optimizer.device", "cpu"),
            0,
            "needs zero_stage 1 or higher: at zero_stage 0",
        ),
        (nested("zero_optimization.reduce_scatter", False), 0, "zero_optimization needs zero_stage 1 or higher"),
        (nested("zero_optimization.allgather_bucket_size", 0), 1, "greater than 0"),
        (nested("zero_optimization.zero_hpz_partition_size", 2), 2, "zero_hpz_partition_size needs zero_stage 3"),
        (
            nested("prescale_gradients", True),
            3,
            "gradient_predivide_factor and prescale_gradients work at zero_stage 1",
        ),
        (
            nested("gradient_predivide_factor", 2.0),
            2,
            "gradient_predivide_factor and prescale_gradients work at zero_st",
        ),
        (nested("zero_optimization.reduce_bucket_size", "auto"), 1, "only Hugging Face's Trainer fills in 'auto'"),
        (nested("zero_optimization.overlap_comm", "auto"), 1, "true or false is needed here (got 'auto')"),
        (nested("zero_optimization.allgather_bucket_size", 3), 1, "allgather_bucket_size 3 must be even"),
        (nested("zero_optimization.reduce_bucket_size", 0), 1, "greater than 0"),
        (nested("communication_data_type", "fp16"), 1, "gradients that lose precision change what is trained"),
        (nested("zero_force_ds_cpu_optimizer", True), 1, "must be one of False"),
        (3, 1, "a mapping of keys is needed here"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path: Path, given: Any, stage: int, words: str) -> None:
    assert words in fault(tmp_path, given, zero_stage=stage)


def test_the_compiler_of_deepspeed_is_refused_beside_that_of_lrps(tmp_path: Path) -> None:
    assert "give only one of it and `compile`" in fault(tmp_path, nested("compile.deepcompile", True), compile=True)
    assert load(tmp_path, nested("compile.deepcompile", False), compile=True).compile


def test_only_what_changes_last_digits_is_recorded() -> None:
    zero = {"overlap_comm": True, "reduce_bucket_size": 10, "stage3_prefetch_bucket_size": 5, "sub_group_size": 7}
    settings = DeepSpeedSettings.model_validate(
        {"zero_optimization": zero | {"offload_optimizer": {"device": "cpu"}}, "communication_data_type": "fp32"}
        | {"prescale_gradients": False, "wall_clock_breakdown": True}
    )
    assert settings.changing_digits() == {
        "overlap_comm": True,
        "reduce_bucket_size": 10,
        "sub_group_size": 7,
        "offload_optimizer": "cpu",
        "communication_data_type": "fp32",
        "prescale_gradients": False,
    }
    quiet = DeepSpeedSettings(zero_optimization=ZeroSettings(memory_efficient_linear=True), disable_python_gc=True)
    assert quiet.changing_digits() == {}


@pytest.mark.slow
def test_every_key_of_deepspeeds_zero_section_is_passed_on_or_refused() -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.runtime.zero.offload_config import (
        DeepSpeedZeroOffloadOptimizerConfig,
        DeepSpeedZeroOffloadParamConfig,
    )

    sections = {
        "zero_optimization.": (DeepSpeedZeroConfig, ZeroSettings),
        "zero_optimization.offload_optimizer.": (DeepSpeedZeroOffloadOptimizerConfig, None),
        "zero_optimization.offload_param.": (DeepSpeedZeroOffloadParamConfig, None),
    }
    for prefix, (section, allowed) in sections.items():
        passed = set(allowed.model_fields) if allowed else {"device", "pin_memory"}
        for name, info in section.model_fields.items():
            key = info.alias or name
            assert (key in passed) != (prefix + key in REFUSED), prefix + key
