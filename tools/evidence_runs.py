"""Runs of an experiment: one run directory for each seed, peak rate and order of the data, made by `lrps run`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.costs.remaining import measured_speeds, steps_to_do
from lrps.launch.jobs import unfinished_paths
from lrps.launch.preflight import waiting_for_sets
from lrps.paths.graph import Release
from lrps.plan.plan import Plan, load_plan
from lrps.plan.set_order import writers
from lrps.plan.status import plan_status, saved_step

WAITING = 2
"""Exit code of `lrps run` where paths wait for a rehearsal set."""


@dataclass(frozen=True)
class Cell:
    """One run of an experiment."""

    seed: int
    """Seed of the initial weights, and of the order of the sequences unless `order_seed` is given."""
    peak_lr: float
    order_seed: int | None = None


@dataclass(frozen=True)
class Experiment:
    """What is trained in every cell: paradigms of a config, up to some of its versions."""

    config_file: Path
    runs: Path
    """Directory of the run directories."""
    paradigms: tuple[str, ...]
    """Names of paradigms; none for all."""
    versions: tuple[str, ...]
    """Versions that are compared; none for the last one."""
    is_reversed: bool = False
    """Whether the versions come in reverse order."""
    more: tuple[str, ...] = ()
    """Further overrides, KEY=VALUE."""
    data: Path | None = None
    """Folder in which every seed has shards of its own, for rehearsal sets that models of a seed write; by default all
    have those of the config."""

    @cached_property
    def ordered(self) -> tuple[str, ...]:
        """Names of all versions in the order of the experiment."""
        names = [version.name for version in load_config(self.config_file, self.more).data.versions]
        return tuple(reversed(names) if self.is_reversed else names)

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the versions that are compared, oldest first."""
        return tuple(name for name in self.ordered if name in (self.versions or self.ordered[-1:]))

    @cached_property
    def peak_lr(self) -> float:
        """Peak rate of the config."""
        return load_config(self.config_file, self.more).schedule.peak_lr

    @property
    def name(self) -> str:
        """Name of the experiment, with which the names of its runs begin."""
        return load_config(self.config_file, self.more).name + ("-reversed" if self.is_reversed else "")

    def run_name(self, cell: Cell) -> str:
        """Return the name of the run directory of a cell: a part for each thing in which it differs."""
        order = "" if cell.order_seed is None else f"-o{cell.order_seed}"
        peak = "" if cell.peak_lr == self.peak_lr else f"-p{cell.peak_lr:g}"
        return f"{self.name}-s{cell.seed}{order}{peak}"

    def overrides(self, cell: Cell) -> tuple[str, ...]:
        """Return the overrides that make the config of a cell, KEY=VALUE."""
        values = [*self.more, f"seed={cell.seed}", f"name={self.run_name(cell)}", f"runs={self.runs}"]
        if self.data is not None:
            values.append(f"data.root={self.data / f's{cell.seed}'}")
        if cell.order_seed is not None:
            values.append(f"data.order_seed={cell.order_seed}")
        if cell.peak_lr != self.peak_lr:
            values.append(f"schedule.peak_lr={cell.peak_lr!r}")
        if self.is_reversed:
            given = load_config(self.config_file, self.more).data.versions
            versions = [version.model_dump(mode="json", exclude_unset=True) for version in reversed(given)]
            values.append(f"data.versions={json.dumps(versions)}")
        return tuple(values)

    def config(self, cell: Cell) -> Config:
        """Return the config of a cell."""
        return load_config(self.config_file, self.overrides(cell))

    def plan(self, cell: Cell) -> Plan:
        """Return the plan of a cell."""
        return load_plan(self.config_file, self.overrides(cell))

    def train(self, cell: Cell) -> None:
        """Train what is missing of a cell, with the rehearsal sets that it waits for. Exits where training fails."""
        chosen = [f"--paradigm={name}" for name in self.paradigms] + [f"--version={name}" for name in self.compared]
        while (code := self._lrps("run", cell, *chosen)) == WAITING and (sets := self.writable_sets(cell)):
            for name in sets:
                if self._lrps("rehearse", cell, name):
                    sys.exit("no rehearsal data: see the message above; the same command continues")
        if code:
            sys.exit(f"lrps run ended with {code}: see the message above; the same command continues")

    def writable_sets(self, cell: Cell) -> list[str]:
        """Return the rehearsal sets that paths of a cell wait for, and whose models are trained."""
        plan = self.plan(cell)
        left = unfinished_paths(plan, self.paradigms, self.compared)
        waited = set[str]().union(*waiting_for_sets(plan, left).values())
        written_by = writers(plan.config, plan.graph)

        def is_trained(release: Release) -> bool:
            return (saved_step(plan.layout.path(release.path)) or 0) >= release.step

        return [name for name in written_by if name in waited and all(map(is_trained, written_by[name]))]

    def score(self, cell: Cell) -> None:
        """Score what is missing of a cell on the tasks of the config. Exits where scoring fails."""
        if code := self._lrps("score", cell, *(f"--paradigm={name}" for name in self.paradigms)):
            sys.exit(f"lrps score ended with {code}: see the message above; the same command continues")

    def _lrps(self, verb: str, cell: Cell, *more: str) -> int:
        """Return the exit code of a verb of lrps, whose output goes to the terminal."""
        overrides = (f"--set={value}" for value in self.overrides(cell))
        return subprocess.run([sys.executable, "-m", "lrps", verb, str(self.config_file), *more, *overrides]).returncode


@dataclass(frozen=True)
class Workload:
    """What is left to train of an experiment."""

    cells: tuple[Cell, ...]
    """Cells in which a path is not finished."""
    steps: int
    """Optimizer steps that are left in them."""
    seconds_per_step: float | None
    """Device time of a step: measured in these runs, else by the hardware of the config; None if neither is known."""

    @property
    def minutes(self) -> float | None:
        return None if self.seconds_per_step is None else self.steps * self.seconds_per_step / 60

    def __str__(self) -> str:
        if not self.steps:
            return f"nothing to train in these cells; {len(self.cells)} of them have something left to evaluate"
        minutes = "unknown before the first path is trained" if self.minutes is None else f"about {self.minutes:,.0f}"
        return f"{self.steps:,} steps to train in {len(self.cells)} runs; device minutes: {minutes}"


def workload(experiment: Experiment, cells: Iterable[Cell]) -> Workload:
    """Return what is left to train of an experiment in these cells."""
    unfinished: list[Cell] = []
    steps, measured, planned = 0, [], None
    for cell in cells:
        plan = experiment.plan(cell)
        left = unfinished_paths(plan, experiment.paradigms, experiment.compared)
        steps += sum(map(steps_to_do, left))
        unfinished += [cell] if left else []
        planned = plan.costs.of(1).device_hours
        measured.append(measured_speeds(plan_status(plan)).device_seconds_per_step)
    known = [seconds for seconds in measured if seconds is not None]
    by_hardware = None if planned is None else planned * 3600
    return Workload(tuple(unfinished), steps, sum(known) / len(known) if known else by_hardware)


def cells_of(seeds: Sequence[int], peaks: Sequence[float], order_seeds: Sequence[int] = ()) -> tuple[Cell, ...]:
    """Return the cells of an experiment, and last those of its noise floor: the first seed and peak in other orders.

    All peaks of a seed come before the next seed, so that whole seeds are finished when training is stopped.
    """
    of_seeds = [Cell(seed, peak) for seed in seeds for peak in peaks]
    return (*of_seeds, *(Cell(seeds[0], peaks[0], order) for order in order_seeds))
