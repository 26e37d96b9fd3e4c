"""The models of the paths of a plan: one config, which is read and checked once, and a new model for every path."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from lrps.engine.build.placed_model import build_placed
from lrps.engine.build.placement import Placement
from lrps.engine.build.units import UnfitError
from lrps.engine.loaded import value_faults
from lrps.engine.model import build_model, configure
from lrps.engine.model_config import check_model_config
from lrps.engine.padding import padding_rows
from lrps.engine.ranks import ask_rank_zero
from lrps.engine.sequence.support import check_support
from lrps.engine.sequence.trial import Start, check_step
from lrps.engine.verdict import as_note, check_trainable
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.store.conventions import INITIALISATION


class PathModels:
    """Builder of the models of a plan's paths. What a user should know of a model is passed to `say`."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say

    def examine(self) -> None:
        """Examine the model type before the first model is built. Raises ConfigError if it must not be trained."""
        plan = self._plan
        for note in check_trainable(plan.config, self._config, plan.layout.examination, begun=plan.begun):
            self._say(note)

    def check_shared_rows(self, start: Start) -> None:
        """Check that the model trains correctly if ranks share rows; nothing where each has its own. Collective.

        start: makes an engine of a small copy. Raises ConfigError on all ranks.
        """
        config = self._plan.config
        if config.engine.sequence_parallel > 1:
            ask_rank_zero(lambda: check_support(config, self._config))
            check_step(config, self._config, start)

    def build(self, path: TrainingPath, placement: Placement, *, loaded: bool) -> Any:
        """Build the model of a path. Collective if the placement divides parameters.

        loaded: whether a checkpoint will replace all weights; then none are drawn or read. Raises ConfigError if the
        model cannot be built, or is too small for the data.
        """
        plan, settings = self._plan, self._plan.config.engine
        model = self._build(path, placement, loaded)
        configure(model, settings.activation_checkpointing, settings.attention)
        if plan.begun and plan.config.model.checkpoint is not None:
            for fault in value_faults(model, f"model.checkpoint: {plan.config.model.checkpoint}"):
                self._say(f"{path.name}: {as_note(fault)}")
        for name, row in padding_rows(model).items():
            self._say(
                f"{path.name}: row {row} of {name} is not trained: the run was begun when padding rows were kept; a "
                "plan with another `name` trains it"
            )
        return model

    def _build(self, path: TrainingPath, placement: Placement, loaded: bool) -> Any:
        plan = self._plan
        model, seed, begun = plan.config.model, plan.config.seed, plan.begun
        if model.checkpoint is None and not loaded and INITIALISATION not in plan.conventions:
            self._say(
                f"{path.name}: every process draws the whole model in fp32 in its host memory: the run was begun when "
                "weights were drawn so, and all of its paths begin alike; a plan with another `name` draws them in "
                "parts"
            )
        elif model.checkpoint is None or not begun:  # A begun run accepts weights that are refused now.
            try:
                return build_placed(
                    self._config, seed, placement, loaded=loaded, checkpoint=model.checkpoint, keeps_padding=begun
                )
            except UnfitError as reason:
                self._say(
                    f"{path.name}: every process builds the whole model in fp32 in its host memory: this "
                    f"{self._config.model_type} model cannot be built in parts, as {reason}"
                )
        return build_model(model, seed, begun=begun, config=self._config)

    @cached_property
    def _config(self) -> Any:
        """Config of transformers, after the checks for which no model is needed."""
        plan = self._plan
        return check_model_config(plan.config.model, plan.manifests, plan.config.data.sequence_length, plan.begun)
