"""Check of the model of a config: that it can be built, fits the data, and trains what lrps measures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lrps.base.errors import ConfigError, LrpsError
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.paths.optimizer_states import other_than_adamw, states_of_kind
from lrps.plan.plan import Plan

AREA = "model"
_OF_PARAMETERS = {"all": "all parameters", "matrices": "matrices", "others": "other parameters"}


def check_model(subject: Subject) -> Iterator[Finding]:
    """Check the model as training does before its first step; of weights only names and shapes. Loads torch.

    Nothing is remembered.
    """
    plan = subject.plan
    if plan is None:
        return
    try:
        config = _checked_config(plan)
    except ConfigError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(AREA, "model", "fail", what, fix or "correct the config as it says")
        return
    checkpoint, vocabulary = plan.config.model.checkpoint, config.get_text_config().vocab_size
    origin = "newly initialised" if checkpoint is None else f"from {checkpoint}"
    yield Finding(AREA, "model", "ok", f"{config.model_type} {origin}, vocabulary of {vocabulary}")
    yield _optimizer(plan)
    yield from _examined(plan, config)
    yield from _sharing(plan, config)


def _checked_config(plan: Plan) -> Any:
    """Return transformers' config of a model that can be built and is large enough for the data. Raises ConfigError."""
    from lrps.engine.model import check_checkpoint
    from lrps.engine.model_config import check_model_config

    model = plan.config.model
    config = check_model_config(model, plan.manifests, plan.config.data.sequence_length, plan.begun)
    if model.checkpoint is not None and not plan.begun:
        check_checkpoint(model.checkpoint, config)
    return config


def _optimizer(plan: Plan) -> Finding:
    """Return the kind of optimizer, with the states that it has of the parameters."""
    kind = plan.config.optimizer.kind
    states = states_of_kind(kind)(plan.config.engine.precision)
    listed = ", ".join(f"{state.name} ({state.dtype}, {_OF_PARAMETERS[state.applies_to]})" for state in states)
    law = "" if other_than_adamw(kind) is None else "; the law of `lrps forecast` was fitted to runs with AdamW"
    return Finding(AREA, "optimizer", "ok", f"{kind} with {listed}{law}")


def _sharing(plan: Plan, model: Any) -> Iterator[Finding]:
    """Yield whether processes can share the rows of a model; nothing if each has its own."""
    from lrps.engine.sequence.support import check_support

    parts = plan.config.engine.sequence_parallel
    if parts == 1:
        return
    try:
        check_support(plan.config, model)
    except ConfigError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(AREA, "sequence parallelism", "fail", what, fix)
        return
    what = f"{parts} processes can share each sequence; training compares a step with that of one process"
    yield Finding(AREA, "sequence parallelism", "ok", what)


def _examined(plan: Plan, model: Any) -> Iterator[Finding]:
    """Yield whether a small copy of the model trains what lrps measures. model: transformers' config of it."""
    from lrps.engine.verdict import examine_begun, examine_model

    fix = "take another model type, or change the key that the message names"
    try:
        verdict = (examine_begun if plan.begun else examine_model)(plan.config, model)
    except LrpsError as error:
        yield Finding(AREA, "examination", "fail", str(error), fix)
        return
    for fault in verdict.faults:
        yield Finding(AREA, "examination", "fail", fault, fix)
    for note in verdict.notes:
        yield Finding(AREA, "examination", "warn", note, "compare a short run with what you expect of the model")
    if not (verdict.faults or verdict.notes):
        what = "causal, its loss is that of the next token, and every parameter is trained"
        yield Finding(AREA, "examination", "ok", what)
