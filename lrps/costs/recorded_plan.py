"""The plan of a run directory alone, by its plan.json: without config file and shards, wherever it was copied to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.files import located
from lrps.config.models import Config
from lrps.data.sources import DataSource
from lrps.paths.cost import CostModel, cost_model
from lrps.paths.increments import CandidateSet, Increment, RehearsalSet
from lrps.paths.part_share import PartShare
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class RecordedPlan(Plan):
    """Plan that knows its run directory only: without manifests and held-out sets."""

    recorded_costs: CostModel | None = None
    """Cost model of the file; None in a file from before it was recorded, for which the config is used."""

    @cached_property
    def costs(self) -> CostModel:
        return (self.recorded_costs or cost_model(self.config)).at_price(self.stated_price)

    @cached_property
    def heldout(self) -> dict[str, DataSource]:
        return {}

    @cached_property
    def candidate_heldout(self) -> dict[str, DataSource]:
        return {}


def recorded_plan(run_dir: Path) -> RecordedPlan:
    """Return the plan as `lrps run` last recorded it; `run_dir` gives its run directory and name.

    Raises ConfigError, which says how to fix it, for a directory without a readable plan.json.
    """
    file = run_dir / "plan.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return _plan(document, run_dir.resolve())
    except FileNotFoundError:
        raise ConfigError(
            f"{located(run_dir)}: has no plan.json, so it is no run, or not all of one; give its config file instead"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{file}: damaged, or of another version of lrps; give the run's config file instead, or restore plan.json "
            f"from a copy ({type(error).__name__}: {problem})"
        ) from None


def _plan(document: Mapping[str, Any], run_dir: Path) -> RecordedPlan:
    config = _config(document["config"])
    batch = config.batch.sequences
    epochs = {source.name: Fraction(str(source.epochs)) for source in config.data.sources}
    versions, sets = document["plan"]["versions"], document["plan"].get("rehearsal", ())
    increments = (Increment.of(v["name"], v["rows"], batch, epochs[v["name"]]) for v in versions)
    rehearsal = (RehearsalSet(r["name"], r["rows"], r["since"], epochs[r["name"]]) for r in sets)
    candidates = document["plan"].get("candidates", ())
    mixed = (each for each in (*versions, *sets, *candidates) if each.get("parts"))
    mixtures = {each["name"]: _shares(each["parts"]) for each in mixed}
    costs = document.get("costs")
    paradigms = {name: config.paradigms[name] for name in document.get("paradigms", config.paradigms)}
    return RecordedPlan(
        # The directory may have been copied or renamed: it is the run, whatever its config calls it.
        config.model_copy(update={"runs": run_dir.parent, "name": run_dir.name, "paradigms": paradigms}),
        tuple(increments),
        {},
        tuple(rehearsal),
        mixtures,
        tuple(CandidateSet(each["name"], each["rows"]) for each in candidates),
        recorded_costs=None if costs is None else CostModel(**costs),
    )


def _config(values: Mapping[str, Any]) -> Config:
    """Return the recorded config. Raises ConfigError if it needs plug-ins that this process has not loaded.

    What a directory names is not executed: it may have come from anybody.
    """
    try:
        return Config.model_validate(values)
    except ValueError as error:
        if not values.get("plugins"):
            raise
        files = ", ".join(map(str, values["plugins"]))
        raise ConfigError(
            f"the run uses plug-ins ({files}), and no code that a run directory names is executed; give the config "
            f"file of the run instead of its directory ({' '.join(str(error).split())[:200]})"
        ) from None


def _shares(parts: Sequence[Mapping[str, Any]]) -> tuple[PartShare, ...]:
    return tuple(
        PartShare(part["name"], Fraction(str(part["weight"])), part["epoch_rows"], part["rows"]) for part in parts
    )
