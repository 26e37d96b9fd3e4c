"""Check of the model of a config: that it can be built, fits the data, and trains what lrps measures."""

from __future__ import annotations

from collections.abc import Iterator

from lrps.base.errors import ConfigError, LrpsError
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.plan.plan import Plan

AREA = "model"


def check_model(subject: Subject) -> Iterator[Finding]:
    """Check the model as training does before its first step; of weights only names and shapes. Loads torch.

    Nothing is remembered.
    """
    if subject.plan is None:
        return
    fits = _fits(subject.plan)
    yield fits
    if fits.state == "ok":
        yield from _examined(subject.plan)


def _fits(plan: Plan) -> Finding:
    """Return whether the model can be built and is large enough for the data."""
    from lrps.engine.model import check_checkpoint
    from lrps.engine.model_config import check_model_config

    model = plan.config.model
    try:
        config = check_model_config(model, plan.manifests, plan.config.data.sequence_length, plan.own_padding)
        if model.checkpoint is not None:
            check_checkpoint(model.checkpoint, surplus=plan.own_padding)
    except ConfigError as error:
        what, _, fix = str(error).partition("; ")
        return Finding(AREA, "model", "fail", what, fix or "correct the config as it says")
    origin = "newly initialised" if model.checkpoint is None else f"from {model.checkpoint}"
    vocabulary = config.get_text_config().vocab_size
    return Finding(AREA, "model", "ok", f"{config.model_type} {origin}, vocabulary of {vocabulary}")


def _examined(plan: Plan) -> Iterator[Finding]:
    """Yield whether a small copy of the model trains what lrps measures."""
    from lrps.engine.verdict import examine_begun, examine_model

    fix = "take another model type, or change the key that the message names"
    try:
        verdict = examine_begun(plan.config) if plan.own_padding else examine_model(plan.config)
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
