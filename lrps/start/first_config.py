"""The config of a first run as text: sections, comments, what was assumed, and the commands that come next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrps.base.commented_yaml import commented_yaml
from lrps.base.errors import ConfigError
from lrps.base.numbers import short, size
from lrps.config.loader import parse_config
from lrps.data.tokenizer import SMALLEST_VOCABULARY
from lrps.start.machine import Machine
from lrps.start.sizing import Sizes
from lrps.start.survey import ENOUGH_DOCUMENTS, Survey, SurveyedVersion

_FEW_STEPS = 50
"""Number of log lines of the smallest version."""
_COMMENTS = {
    "seed": "all randomness follows from it",
    "data.heldout_share": "share of the documents for evaluation; it cannot change once a version is built",
    "data.versions": "oldest first. When new text arrives, add a line and run again",
    "batch.micro_sequences": "of one process in one forward pass; fewer take less memory",
    "schedule.peak_lr": "a starting point: the main path stays here",
    "schedule.final_lr": "where every decay ends",
    "paradigms": (
        "One main path at peak_lr; every version is a branch with a decay of a fifth of all steps so far.\n"
        "The fair control, trained from scratch for every version, costs more: add\n"
        "  ptfs: {alpha: 0.2, alpha_of: steps-so-far, decay: 1-sqrt}\n"
    ),
    "evaluation.max_rows": "sequences of each held-out set; null for all",
    "hardware": "`lrps plan` computes device-hours from it; add price_per_device_hour to see money\n",
    "launch.processes": "one for each GPU",
    "checkpoint.every_minutes": "the end of a path is always saved",
}


@dataclass(frozen=True)
class FirstConfig:
    """A config file that is not written yet."""

    text: str
    """The YAML file."""
    assumed: tuple[str, ...]
    """Sentences about what was found and assumed."""


def first_config(
    name: str, text: Survey, sizes: Sizes, machine: Machine, given: Mapping[str, Any], notes: tuple[str, ...] = ()
) -> FirstConfig:
    """Return the config of a plan.

    given: sections that take precedence, such as those of a translated DeepSpeed config. notes: lines about them, for
    the head of the file. Raises ConfigError if the given sections do not fit the rest.
    """
    values = _merged(_sections(name, text, sizes, machine), given)
    comments = _COMMENTS | _found(sizes)
    assumed = _assumptions(text, sizes, machine)
    head = ["A first config for this text, by `lrps init`; its sizes are starting points."]
    lines = "".join(f"# {' '.join(line.split())}\n" for line in (*head, *assumed, *notes))
    made = f"{lines}\n{commented_yaml(values, comments)}"
    try:
        parse_config(made, f"{name}.yaml")
    except ConfigError as error:
        raise ConfigError(f"{error}\nNothing was written: correct the file of --from, or leave it out") from None
    return FirstConfig(made, assumed)


def _sections(name: str, text: Survey, sizes: Sizes, machine: Machine) -> dict[str, Any]:
    smallest = min(sizes.steps)
    batch: dict[str, Any] = {"sequences": sizes.sequences}
    if sizes.micro_sequences is not None:
        batch["micro_sequences"] = sizes.micro_sequences
    return {
        "name": name,
        "seed": 17,
        "model": sizes.model.model_dump(mode="json", exclude_none=True),
        "data": _data(name, text, sizes),
        "batch": batch,
        "schedule": {"peak_lr": sizes.peak_lr, "final_lr": 0, "warmup_steps": sizes.warmup_steps},
        "paradigms": {"path-switching": {"alpha": 0.2, "alpha_of": "steps-so-far", "decay": "1-sqrt"}},
        "engine": {"zero_stage": 1, "precision": "bf16" if machine.computes_in_bf16 else "fp32"},
        "evaluation": {"max_rows": 512, "main_max_rows": 64},
        "checkpoint": {"every_minutes": 10},
        "launch": {"launcher": "local", "processes": machine.devices},
        "hardware": {"device": machine.device, "devices": machine.devices},
        "track": {"log_every_steps": max(1, smallest // _FEW_STEPS)},
    }


def _data(name: str, text: Survey, sizes: Sizes) -> dict[str, Any]:
    data: dict[str, Any] = {"root": f"data/{name}"}
    if sizes.model.checkpoint is not None:
        data["tokenizer"] = str(sizes.model.checkpoint / "tokenizer.json")
    else:
        data["train_vocabulary"] = sizes.vocabulary
    data |= {"sequence_length": sizes.sequence_length, "heldout_share": sizes.heldout_share}
    if text.reading.text_key != "text":
        data["text_key"] = text.reading.text_key
    if text.reading.documents != "file":
        data["documents"] = text.reading.documents
    versions = zip(text.versions, sizes.tokens, strict=True)
    return data | {"versions": [{"name": each.name, "text": [each.text], "tokens": n} for each, n in versions]}


def _found(sizes: Sizes) -> dict[str, str]:
    """Return comments with the numbers of this config."""
    steps = ", ".join(f"{steps:,}" for steps in sizes.steps)
    parameters = "" if sizes.parameters is None else f"{short(sizes.parameters)} parameters"
    plain = sizes.vocabulary == SMALLEST_VOCABULARY
    unit = "plain bytes and an EOS token" if plain else "a byte-level BPE, trained on the first version"
    counted = "" if sizes.is_exact else "; tokens are estimated, leave them out after the build to use all"
    return {
        "model": parameters,
        "data.train_vocabulary": unit,
        "data.versions": f"{_COMMENTS['data.versions']}{counted}",
        "data.documents": "what ends a document of a .txt or .md file",
        "batch.sequences": f"{steps} steps",
    }


def _assumptions(text: Survey, sizes: Sizes, machine: Machine) -> tuple[str, ...]:
    lines = [
        f"{each.name} is {each.text}: {_described(each)}; {steps:,} steps"
        for each, steps in zip(text.versions, sizes.steps, strict=True)
    ]
    lines += [f"{each.name}: {note}" for each in text.versions for note in each.notes]
    if text.reading.documents != "file":
        end = {"blank-line": "at a blank line", "line": "with its line"}[text.reading.documents]
        lines.append(f"a document ends {end}, because a version has fewer than {ENOUGH_DOCUMENTS} files")
    if text.reading.text_key != "text":
        lines.append(f"the text is under the key {text.reading.text_key!r}, the longest string of the first object")
    if sizes.model.checkpoint is not None:
        lines.append(f"training continues {sizes.model.checkpoint}, with its tokenizer")
    else:
        lines.append(f"a new model of {short(sizes.parameters)} parameters: about 20 tokens for each, or the smallest")
    where = f"{machine.devices} x {machine.device}" if machine.has_gpu else "the CPU: no GPU was found"
    lines.append(f"it is trained on {where}")
    return tuple(lines)


def _described(version: SurveyedVersion) -> str:
    about = "" if version.is_whole else "about "
    files = f"{len(version.files):,} files" if len(version.files) > 1 else "1 file"
    return f"{files}, {about}{version.documents:,} documents, {about}{size(version.bytes)}"


def _merged(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those that are given, section by section."""
    merged = dict(values)
    for key, value in given.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(inner, value) if both and isinstance(inner, Mapping) else value
    return merged
