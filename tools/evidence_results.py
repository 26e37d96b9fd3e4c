"""Results of an experiment: the losses of every cell, and what of them may be compared."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from evidence_runs import Cell
from evidence_statistics import Paired

from lrps.base.errors import ConfigError
from lrps.costs.comparison import Comparison
from lrps.paths.attribution import marginal_steps
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class Loss:
    """Held-out losses of one version of one paradigm in one cell, nats a token."""

    mean: float
    """Mean over the held-out sets of all versions up to this one."""
    by_set: Mapping[str, float]
    """Loss by held-out set, of these sets."""


@dataclass(frozen=True)
class CellResult:
    """Everything that was measured in a cell, with what it was measured on."""

    losses: Mapping[tuple[str, str], Loss]
    """Losses by paradigm and version, of those that are evaluated."""
    corpus: Mapping[str, str | None]
    """SHA-256 of the training data, by version."""
    heldout: Mapping[str, tuple[str, int]]
    """SHA-256 and number of sequences of the held-out sets that were used, by version."""
    torch: frozenset[str]
    """Versions of torch that attempts recorded."""
    processors: frozenset[str]
    """Processors that attempts without a GPU recorded, with instruction set and threads."""


def cell_result(comparison: Comparison) -> CellResult:
    """Return the result of a cell from the comparison of its run."""
    names = [version.name for version in comparison.plan.versions]
    losses, heldout = {}, {}
    for paradigm, costs in comparison.paradigms.items():
        for release in costs.releases:
            if release.seen_loss is None:
                continue
            seen = names[: names.index(release.version) + 1]
            by_set = {version: release.heldout[version].loss for version in seen}
            losses[paradigm, release.version] = Loss(release.seen_loss, by_set)
            heldout |= {name: (each.manifest_sha256, each.rows) for name, each in release.heldout.items()}
    made = comparison.provenance
    return CellResult(
        losses=losses,
        corpus={version.name: version.manifest_sha256 for version in comparison.plan.versions},
        heldout=heldout,
        torch=frozenset(made.software.get("torch", ())),
        processors=frozenset(f"{each.model}, {each.instructions}, {each.threads} threads" for each in made.processors),
    )


def check_comparable(cells: Mapping[str, CellResult]) -> None:
    """Raise ConfigError if cells differ in their data, their held-out sets or torch. cells: by name of the run.

    Cells in which nothing is measured yet have only their data compared.
    """
    data: dict[str, tuple[str | None, str]] = {}
    heldout: dict[str, tuple[tuple[str, int], str]] = {}
    torch: tuple[frozenset[str], str] | None = None
    for run, cell in cells.items():
        for version, sha256 in cell.corpus.items():
            first = data.setdefault(version, (sha256, run))
            _refuse(first[0] != sha256, run, first[1], f"the training data of {version}", "build one corpus for both")
        for version, used in cell.heldout.items():
            found = heldout.setdefault(version, (used, run))
            how = "evaluate both on the same sequences (evaluation.max_rows)"
            _refuse(found[0] != used, run, found[1], f"the held-out set of {version}", how)
        if cell.torch:
            torch = torch or (cell.torch, run)
            _refuse(torch[0] != cell.torch, run, torch[1], "the version of torch", "train them again with one version")
            _refuse(len(cell.torch) > 1, run, run, "the version of torch between attempts", "train it with one version")


def _refuse(differs: bool, run: str, other: str, what: str, how: str) -> None:
    if differs:
        raise ConfigError(
            f"{run} and {other} differ in {what}, so their losses cannot be compared: {how}, or leave one out"
        )


@dataclass(frozen=True)
class Cost:
    """Planned steps of a paradigm up to a version."""

    share_of_ptfs: float
    """Steps of all versions up to this one, of those of PTFS."""
    marginal_steps: int
    """Steps that this version added."""


def costs_of(plan: Plan) -> dict[tuple[str, str], Cost]:
    """Return the cost of every version of every paradigm of a plan."""
    versions = [increment.version for increment in plan.increments]
    ptfs = list(accumulate(accumulate(increment.steps for increment in plan.increments)))
    found = {}
    for paradigm in plan.graph.paradigms:
        added = marginal_steps(paradigm)
        for version, whole, so_far, own in zip(versions, ptfs, accumulate(added), added, strict=True):
            found[paradigm.name, version] = Cost(so_far / whole, own)
    return found


@dataclass(frozen=True)
class Row:
    """One paradigm beside the reference, for one version."""

    paradigm: str
    kind: str
    """Kind of the paradigm in the plan: path-switching, ptfs, matched-steps, cpt or wsd-s."""
    cost: Cost
    peak_lr: float
    """Peak rate with the lowest mean loss of those that every seed has; the first one where no seed has all."""
    losses: Mapping[int, Loss]
    """Losses at that rate, by seed; seeds that are not finished are missing."""
    paired: Paired | None
    """Differences to the reference at its own rate, seed by seed; None without a seed that has both."""
    by_set: Mapping[str, Paired]
    """The same on each held-out set."""

    @property
    def mean(self) -> float | None:
        """Mean loss over the seeds; None without one."""
        return statistics.fmean(loss.mean for loss in self.losses.values()) if self.losses else None


@dataclass(frozen=True)
class Results:
    """Results of all cells that were asked for."""

    cells: Mapping[Cell, CellResult]
    costs: Mapping[tuple[str, str], Cost]
    """Costs by paradigm and version."""
    paradigms: Mapping[str, str]
    """Kinds of the paradigms, by name, in the order of the table."""

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(cell.seed for cell in self.cells if cell.order_seed is None))

    @property
    def peaks(self) -> list[float]:
        return list(dict.fromkeys(cell.peak_lr for cell in self.cells))

    def losses(self, paradigm: str, version: str, peak: float) -> dict[int, Loss]:
        """Return seed -> loss, for the seeds that have one at this peak rate in their own order."""
        found = {seed: self.cells[Cell(seed, peak)].losses.get((paradigm, version)) for seed in self.seeds}
        return {seed: loss for seed, loss in found.items() if loss is not None}

    def best_peak(self, paradigm: str, version: str) -> float:
        """Return the peak rate with the lowest mean loss, of those that every seed has; else the first one."""
        found = {peak: self.losses(paradigm, version, peak) for peak in self.peaks}
        whole = [peak for peak, losses in found.items() if len(losses) == len(self.seeds)]
        means = {peak: statistics.fmean(loss.mean for loss in found[peak].values()) for peak in whole}
        return min(means, key=means.__getitem__, default=self.peaks[0])

    def rows(self, version: str, reference: str) -> list[Row]:
        """Return a row for each paradigm. reference: the paradigm that differences are taken to."""
        base = self.losses(reference, version, self.best_peak(reference, version))
        return [self._row(paradigm, version, base) for paradigm in self.paradigms]

    def _row(self, paradigm: str, version: str, base: Mapping[int, Loss]) -> Row:
        peak = self.best_peak(paradigm, version)
        losses = self.losses(paradigm, version, peak)
        both = [(losses[seed], base[seed]) for seed in losses if seed in base]
        sets = both[0][0].by_set if both else ()
        return Row(
            paradigm,
            self.paradigms[paradigm],
            self.costs[paradigm, version],
            peak,
            losses,
            Paired(tuple(own.mean - other.mean for own, other in both)) if both else None,
            {name: Paired(tuple(own.by_set[name] - other.by_set[name] for own, other in both)) for name in sets},
        )

    def order_losses(self, paradigm: str, version: str) -> dict[int | None, float]:
        """Return order seed -> loss at the first seed and peak rate; None for the seed's own order."""
        seed, peak = self.seeds[0], self.peaks[0]
        cells = {
            cell.order_seed: result for cell, result in self.cells.items() if (cell.seed, cell.peak_lr) == (seed, peak)
        }
        found = {order: result.losses.get((paradigm, version)) for order, result in cells.items()}
        return {order: loss.mean for order, loss in found.items() if loss is not None}
