"""Check of the model of a config: its architecture, or its checkpoint directory, against the data."""

from __future__ import annotations

from collections.abc import Iterator

from lrps.base.errors import ConfigError
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding

AREA = "model"


def check_model(subject: Subject) -> Iterator[Finding]:
    """Check that the model can be built and is large enough for the data; of weights only names and shapes.

    Loads torch.
    """
    from lrps.engine.model import check_checkpoint
    from lrps.engine.model_config import check_model_config

    plan = subject.plan
    if plan is None:
        return
    model = plan.config.model
    try:
        config = check_model_config(model, plan.manifests, plan.config.data.sequence_length)
        if model.checkpoint is not None:
            check_checkpoint(model.checkpoint)
    except ConfigError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(AREA, "model", "fail", what, fix or "correct the config as it says")
        return
    origin = "newly initialised" if model.checkpoint is None else f"from {model.checkpoint}"
    yield Finding(
        AREA, "model", "ok", f"{config.model_type} {origin}, vocabulary of {config.get_text_config().vocab_size}"
    )
