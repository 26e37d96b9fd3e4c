"""The translation of a DeepSpeed config: every line has a fate, and what is kept is a valid config."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.config.deepspeed.refusals import REFUSED
from lrps.config.deepspeed.settings import ZeroSettings
from lrps.config.deepspeed.translation import Translation, translate
from lrps.config.models import Config
from support.values import config_values

HUGGING_FACE: dict[str, Any] = {
    "bf16": {"enabled": True},
    "fp16": {"enabled": False, "loss_scale": 0},
    "optimizer": {"type": "AdamW", "params": {"lr": 3e-4, "betas": [0.9, 0.95], "eps": "auto", "weight_decay": 0.2}},
    "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_num_steps": 10, "total_num_steps": "auto"}},
    "zero_optimization": {
        "stage": 3,
        "offload_optimizer": {"device": "cpu", "pin_memory": True, "buffer_count": 4},
        "overlap_comm": True,
        "sub_group_size": 1e9,
        "reduce_bucket_size": "auto",
        "stage3_gather_16bit_weights_on_model_save": True,
        "round_robin_gradients": True,
    },
    "gradient_accumulation_steps": 4,
    "gradient_clipping": 0.5,
    "train_batch_size": 64,
    "train_micro_batch_size_per_gpu": "auto",
    "steps_per_print": 100,
    "wandb": {"enabled": True, "project": "p"},
    "gradient_cliping": 1,
}


def verbs(made: Translation) -> dict[str, str]:
    return {fate.key: fate.verb for fate in made.fates}


def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in values.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]
    return found


def test_a_config_of_hugging_face() -> None:
    made = translate(HUGGING_FACE)
    assert made.values == {
        "engine": {
            "precision": "bf16",
            "zero_stage": 3,
            "deepspeed": {
                "zero_optimization": {
                    "offload_optimizer": {"device": "cpu", "pin_memory": True},
                    "overlap_comm": True,
                    "sub_group_size": 1_000_000_000,
                }
            },
        },
        "schedule": {"peak_lr": 3e-4, "warmup_steps": 10},
        "optimizer": {"betas": [0.9, 0.95], "weight_decay": 0.2, "clip_grad_norm": 0.5},
        "batch": {"sequences": 64},
        "track": {"log_every_steps": 100, "trackers": ["wandb"]},
    }
    Config.model_validate(config_values(**made.values))
    found = verbs(made)
    assert found["zero_optimization.reduce_bucket_size"] == found["optimizer.params.eps"] == "left to lrps"
    assert found["zero_optimization.overlap_comm"] == "kept"
    assert found["zero_optimization.round_robin_gradients"] == found["scheduler.type"] == "refused"
    words = {fate.key: fate.words for fate in made.fates}
    assert words["train_micro_batch_size_per_gpu"].endswith("or give `batch.micro_sequences`")
    assert words["gradient_accumulation_steps"] == REFUSED["gradient_accumulation_steps"]
    assert words["gradient_cliping"].startswith("unknown key; did you mean 'gradient_clipping'?")
    assert words["zero_optimization.offload_optimizer.buffer_count"].startswith("is about nvme")


def test_every_line_has_one_fate() -> None:
    assert [fate.key for fate in translate(HUGGING_FACE).fates] == leaves(HUGGING_FACE)


def test_the_rate_of_the_scheduler_counts_whatever_the_order_of_the_lines() -> None:
    optimizer = {"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}
    scheduler = {"scheduler": {"params": {"warmup_max_lr": 3e-4}}}
    for file in (optimizer | scheduler, scheduler | optimizer):
        made = translate(file)
        assert made.values["schedule"]["peak_lr"] == 3e-4
        assert verbs(made)["optimizer.params.lr"] == "left to lrps"
    assert (
        translate(optimizer | {"scheduler": {"params": {"warmup_max_lr": "auto"}}}).values["schedule"]["peak_lr"]
        == 1e-3
    )


def test_defaults_that_differ_are_named_where_the_file_does_not_give_a_value() -> None:
    assert [fate.key for fate in translate({"zero_optimization": {"stage": 1}}).absent] == ["gradient_clipping"]
    names = [fate.key for fate in translate({"optimizer": {"params": {"betas": [0.9, 0.95]}}}).absent]
    assert names == ["gradient_clipping", "optimizer.params.weight_decay"]
    assert translate(HUGGING_FACE).absent == []


@pytest.mark.parametrize("stage", [5, -1, "x"])
def test_what_is_no_stage_is_refused(stage: object) -> None:
    made = translate({"zero_optimization": {"stage": stage}})
    assert "engine" not in made.values
    assert verbs(made)["zero_optimization.stage"] == "refused"


@pytest.mark.parametrize(
    ("file", "values", "key", "words"),
    [
        ({"fp16": {"enabled": True}}, {}, "fp16.enabled", "lrps trains in bf16 or fp32"),
        ({"optimizer": {"type": "Lion"}}, {}, "optimizer.type", "is given as `optimizer: {kind: lion, ...}`"),
        ({"optimizer": {"type": "Adagrad"}}, {}, "optimizer.type", "none of the optimizers of lrps: adamw, muon, lion"),
        (
            {"optimizer": {"type": "Adam", "params": {"adam_w_mode": False}}},
            {},
            "optimizer.params.adam_w_mode",
            "the weight decay of lrps is that of AdamW",
        ),
        ({"zero_optimization": True}, {}, "zero_optimization", "give `engine.zero_stage: 1`"),
        (
            {"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}},
            {"engine": {"zero_stage": 2}},
            "zero_optimization.offload_param.device",
            "offload_param needs zero_stage 3",
        ),
        (
            {"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}},
            {"engine": {"zero_stage": 3}},
            "zero_optimization.offload_param.device",
            "swaps out to nvme",
        ),
        ({"communication_data_type": "fp16"}, {}, "communication_data_type", "lose precision"),
        ({"aio": {"block_size": 1}}, {}, "aio.block_size", "breaks checkpoints"),
        (
            {"foo": {"bar": {"baz": 1}}},
            {},
            "foo.bar.baz",
            "no setting of DeepSpeed that lrps knows; known keys: zero_o",
        ),
        (
            {"bf16": {"enabled": True}, "zero_optimization": {"stage": 0}},
            {"engine": {"precision": "bf16", "zero_stage": 1}},
            "bf16.enabled",
            "engine.zero_stage: 1, because bf16 needs it",
        ),
        (
            {"zero_optimization": {"stage": 2, "cpu_offload": True}},
            {"engine": {"zero_stage": 2, "deepspeed": {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}}},
            "zero_optimization.cpu_offload",
            "engine.deepspeed.zero_optimization.offload_optimizer",
        ),
        (
            {"gradient_clipping": 0},
            {"optimizer": {"clip_grad_norm": None}},
            "gradient_clipping",
            "clip_grad_norm: null",
        ),
    ],
)
def test_what_becomes_of_a_line(file: dict[str, Any], values: dict[str, Any], key: str, words: str) -> None:
    made = translate(file)
    assert made.values == values
    assert any(fate.key == key and words in fate.words for fate in made.fates)


@given(
    st.integers(0, 3),
    st.dictionaries(
        st.sampled_from(sorted({*ZeroSettings.model_fields, *(key.rpartition(".")[2] for key in REFUSED)})),
        st.sampled_from([True, False, 0, 2, 1e9, "auto", "x", {}, {"device": "cpu"}, {"device": "nvme"}, [1]]),
    ),
)
def test_whatever_a_file_says_the_settings_that_are_kept_are_valid(stage: int, zero: dict[str, Any]) -> None:
    made = translate({"zero_optimization": {**zero, "stage": stage}})
    Config.model_validate(config_values(**made.values))
    assert {fate.key for fate in made.fates} == set(leaves({"zero_optimization": {**zero, "stage": stage}}))
