"""Translation of a DeepSpeed config, as users of Hugging Face's Trainer have one, into keys of a config of lrps.

Every line of the file has one fate: it is kept, it became a key of lrps, it is left to lrps, or it is refused with the
reason.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from lrps.config.deepspeed.refusals import refusal_words
from lrps.config.deepspeed.settings import DeepSpeedSettings, stage_fault
from lrps.config.optimizing import BUILTIN

Verb = Literal["kept", "became", "left to lrps", "refused"]
_ADAMW = ("adamw", "adam")
"""Types of DeepSpeed's optimizers that are AdamW: Adam is as well, unless adam_w_mode is false."""
_RENAMED: Mapping[str, str] = {
    "train_batch_size": "batch.sequences",
    "train_micro_batch_size_per_gpu": "batch.micro_sequences",
    "gradient_clipping": "optimizer.clip_grad_norm",
    "optimizer.params.lr": "schedule.peak_lr",
    "optimizer.params.betas": "optimizer.betas",
    "optimizer.params.eps": "optimizer.eps",
    "optimizer.params.weight_decay": "optimizer.weight_decay",
    "scheduler.params.warmup_max_lr": "schedule.peak_lr",
    "scheduler.params.warmup_num_steps": "schedule.warmup_steps",
    "steps_per_print": "track.log_every_steps",
    "zero_optimization.stage": "engine.zero_stage",
}
"""Keys of DeepSpeed whose values are those of a key of lrps."""
_SWITCHES: Mapping[str, tuple[str, Any]] = {
    "bf16.enabled": ("engine.precision", "bf16"),
    "bfloat16.enabled": ("engine.precision", "bf16"),
    "tensorboard.enabled": ("track.trackers", ["tensorboard"]),
    "wandb.enabled": ("track.trackers", ["wandb"]),
}
"""Switches of DeepSpeed -> key of lrps and its value where they are on."""
_OWN_RATE, _SCHEDULED_RATE = "optimizer.params.lr", "scheduler.params.warmup_max_lr"
_OTHER_DEFAULTS: Mapping[str, str] = {
    "gradient_clipping": "DeepSpeed does not clip then, and lrps clips at 1.0: give `optimizer.clip_grad_norm`",
    "optimizer.params.betas": "DeepSpeed takes [0.9, 0.999], and lrps [0.9, 0.95]: give `optimizer.betas`",
    "optimizer.params.weight_decay": "DeepSpeed takes 0, and lrps 0.1: give `optimizer.weight_decay`",
}
"""Keys of DeepSpeed whose defaults are not those of lrps."""
_OFFLOADS: Mapping[str, str] = {
    "zero_optimization.cpu_offload": "zero_optimization.offload_optimizer.device",
    "zero_optimization.cpu_offload_param": "zero_optimization.offload_param.device",
}
"""Old switches of DeepSpeed -> the setting that is `cpu` where they are on."""


@dataclass(frozen=True)
class Fate:
    """The key of lrps that a line of the file became, or the reason why it became none."""

    key: str
    """Dotted name in the file."""
    verb: Verb
    words: str
    """New key and value, or the reason."""


@dataclass
class Translation:
    """The keys of lrps that a file became, and the fate of each of its lines."""

    values: dict[str, Any] = field(default_factory=dict)
    """Sections of a config of lrps, without those that no line of the file says anything about."""
    fates: list[Fate] = field(default_factory=list)
    """Fate of every line, in the order of the file."""
    absent: list[Fate] = field(default_factory=list)
    """Keys that the file does not have, and whose default in DeepSpeed is another one than that of lrps."""

    def put(self, key: str, value: Any) -> None:
        """Set a dotted key of lrps; lists of several lines are joined."""
        *sections, last = key.split(".")
        target = self.values
        for section in sections:
            target = target.setdefault(section, {})
        target[last] = [*target.get(last, []), *value] if key == "track.trackers" else value

    def say(self, key: str, verb: Verb, words: str) -> None:
        """Record the fate of a line."""
        self.fates.append(Fate(key, verb, words))


def translate(file: Mapping[str, Any]) -> Translation:
    """Return the translation of a DeepSpeed config. file: its values, as JSON."""
    made = Translation()
    stage, lines = _stage(file), dict(_lines(file))
    for key, value in lines.items():
        if key == _OWN_RATE and lines.get(_SCHEDULED_RATE, "auto") != "auto":
            made.say(key, "left to lrps", f"the scheduler replaces it by its own: {_SCHEDULED_RATE}")
        else:
            _translate_line(made, key, value, stage)
    if made.values.get("engine", {}).get("precision") == "bf16" and stage == 0:
        made.put("engine.zero_stage", 1)
        made.say("bf16.enabled", "became", "engine.zero_stage: 1, because bf16 needs it")
    for key, words in _OTHER_DEFAULTS.items():
        if key not in lines and (key == "gradient_clipping" or "optimizer" in file):
            made.absent.append(Fate(key, "left to lrps", f"is not in the file. {words}"))
    return made


def _stage(file: Mapping[str, Any]) -> int:
    """Return the ZeRO stage of a file."""
    zero = file.get("zero_optimization")
    stage = zero.get("stage", 0) if isinstance(zero, Mapping) else int(zero is True)
    return stage if stage in range(4) else 1


def _lines(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of every value that is no mapping, in the order of the file."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def _translate_line(made: Translation, key: str, value: Any, stage: int) -> None:
    """Add one line of the file to a translation."""
    if value == "auto":
        target = _RENAMED.get(key) or _SWITCHES.get(key, ("", None))[0]
        target = f", or give `{target}`" if target else ""
        made.say(
            key, "left to lrps", f"`auto` is filled in by Hugging Face's Trainer; lrps has its own default{target}"
        )
    elif key == "zero_optimization.stage" and value not in range(4):
        made.say(key, "refused", "is no stage of ZeRO: those are 0 to 3")
    elif key in _RENAMED:
        given = (value or None) if key == "gradient_clipping" else value
        _become(made, key, _RENAMED[key], given)
    elif key in {**_SWITCHES, **_OFFLOADS} and not value:
        made.say(key, "left to lrps", "is off, as in lrps unless it is asked for")
    elif key in _SWITCHES:
        _become(made, key, *_SWITCHES[key])
    elif key in _OFFLOADS:
        _keep(made, key, "cpu", stage, _OFFLOADS[key])
    elif (other := _of_another_section(key, value)) is not None:
        made.say(key, *other)
    elif (why := _refused(key)) is not None:
        made.say(key, "refused", why)
    else:
        _keep(made, key, value, stage)


def _become(made: Translation, key: str, target: str, value: Any) -> None:
    made.put(target, value)
    made.say(key, "became", f"{target}: {_shown(value)}")


def _of_another_section(key: str, value: Any) -> tuple[Verb, str] | None:
    """Return the fate of a line about the optimizer, the schedule or a precision; None for any other line."""
    if key == "zero_optimization" and isinstance(value, bool):
        return "refused", f"is an old form: give `engine.zero_stage: {int(value)}`"
    if key == "optimizer.type":
        if str(value).lower() in _ADAMW:
            return "became", "the section `optimizer`, whose optimizer is AdamW"
        if str(value).lower() in BUILTIN:
            return "refused", f"is given as `optimizer: {{kind: {str(value).lower()}, ...}}`, with keys of its own"
        return "refused", f"is none of the optimizers of lrps: {', '.join(BUILTIN)}"
    if key == "optimizer.params.adam_w_mode" and value is False:
        return "refused", "changes what is trained: the weight decay of lrps is that of AdamW, not part of the gradient"
    if key.startswith("optimizer.params."):
        return "left to lrps", "is about the kernel: lrps takes torch's fused AdamW"
    if key == "scheduler.type":
        return "refused", "the schedule is that of `schedule` and of the paradigms: warm-up, constant rate, decays"
    if key.startswith("scheduler.params."):
        return "refused", "belongs to the scheduler; lengths follow from the data, decays from `paradigms`"
    if key == "fp16.enabled" and not value:
        return "left to lrps", "is off, as in lrps"
    if key.startswith("fp16.") and key != "fp16.enabled":
        return "left to lrps", "belongs to the loss scale of fp16, which lrps does not need"
    return None


def _refused(key: str) -> str | None:
    """Return why a dotted key is none that lrps passes on; None if it is one."""
    section: type[BaseModel] | None = DeepSpeedSettings
    parts = key.split(".")
    for depth, part in enumerate(parts, 1):
        allowed = list(section.model_fields) if section else []
        if section is None or part not in allowed:
            return refusal_words(".".join(parts[:depth]), allowed)
        options = typing.get_args(section.model_fields[part].annotation)
        section = next((each for each in options if isinstance(each, type) and issubclass(each, BaseModel)), None)
    return None


def _keep(made: Translation, key: str, value: Any, stage: int, renamed: str | None = None) -> None:
    """Add a setting that lrps may pass on, as lrps writes its value. renamed: its name now, where that is another."""
    name, nested = renamed or key, value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    try:
        settings = DeepSpeedSettings.model_validate(nested)
    except ValidationError as error:
        made.say(key, "refused", error.errors()[0]["msg"].removeprefix("Value error, "))
        return
    if (fault := stage_fault(settings, stage)) is not None:
        made.say(key, "refused", fault)
        return
    kept: Any = settings.as_mapping()
    for part in name.split("."):
        kept = kept[part]
    if renamed is not None:
        _become(made, key, f"engine.deepspeed.{name}", kept)
    else:
        made.put(f"engine.deepspeed.{name}", kept)
        made.say(key, "kept", "`engine.deepspeed` passes it on")


def _shown(value: Any) -> str:
    return json.dumps(value)
