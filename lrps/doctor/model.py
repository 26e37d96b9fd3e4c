"""Check of the model of a config: whether it trains what lrps measures."""

from __future__ import annotations

from collections.abc import Iterator

from lrps.base.errors import LrpsError
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding

AREA = "model"


def check_model(subject: Subject) -> Iterator[Finding]:
    """Check the model as training does before its first step; nothing is remembered."""
    if subject.config is None:
        return
    from lrps.engine.verdict import examine

    fix = "take another model type, or change the key that the message names"
    try:
        verdict = examine(subject.config)
    except LrpsError as error:
        yield Finding(AREA, "model", "fail", str(error), fix)
        return
    for fault in verdict.faults:
        yield Finding(AREA, "model", "fail", fault, fix)
    for note in verdict.notes:
        yield Finding(AREA, "model", "warn", note, "compare a short run with what you expect of the model")
    if not (verdict.faults or verdict.notes):
        what = "causal, its loss is that of the next token, and every parameter is trained"
        yield Finding(AREA, "model", "ok", what)
