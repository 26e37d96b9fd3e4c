"""A sweep: the cost of path switching beside PTFS and CPT over alpha, number of versions and growth of the increments.

Plan arithmetic alone: every point is compiled as a plan would be, with increments T_k = T_1 * growth ** (k - 1) in
whole steps, T_1 being that of the config. Device-hours and money are planned: by the hardware and mfu of the config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from typing import Any, ClassVar

from lrps.base.document import INLINE, UNLESS_NONE
from lrps.base.errors import ConfigError
from lrps.config.mixes import Mix
from lrps.config.models import Config
from lrps.config.strategies import Cpt, PathSwitching, Ptfs, Strategy
from lrps.costs.forecasts.planned_loss import PlannedLoss
from lrps.costs.planned.plan_document import wall_clock_hours
from lrps.costs.price import Price, price_of
from lrps.paths.cost import Cost, peak_flops
from lrps.paths.graph import Paradigm
from lrps.paths.increments import Increment
from lrps.paths.paradigms.compile import compile_paradigm
from lrps.plan.plan import Plan

PATH_SWITCHING, PTFS, CPT = "path-switching", "ptfs", "cpt"
_MOST_POINTS, _MOST_VERSIONS, _MOST_GROWTH = 10_000, 100, 10


@dataclass(frozen=True)
class Grid:
    """Points of a sweep: every combination of its values. Raises ConfigError for values out of range."""

    alphas: tuple[Fraction, ...]
    """Shares of the increment, above 0 and at most 1."""
    versions: tuple[int, ...]
    """Numbers of versions."""
    growths: tuple[Fraction, ...]
    """Factors from one increment to the next."""

    def __post_init__(self) -> None:
        if any(not 0 < alpha <= 1 for alpha in self.alphas):
            raise ConfigError("--alpha: a share of the increment is above 0 and at most 1")
        if any(not 1 <= number <= _MOST_VERSIONS for number in self.versions):
            raise ConfigError(f"--versions: from 1 to {_MOST_VERSIONS}")
        if any(not 0 < growth <= _MOST_GROWTH for growth in self.growths):
            raise ConfigError(f"--growth: above 0 and at most {_MOST_GROWTH}; 1 is increments of one size")
        if len(self.alphas) * len(self.versions) * len(self.growths) > _MOST_POINTS:
            raise ConfigError(f"a sweep of more than {_MOST_POINTS:,} points; name fewer values")


def parse_values(text: str, option: str) -> tuple[Fraction, ...]:
    """Return the values of `0.2,0.4` or `0.2:0.8:0.1` (from, to, by; both ends included), ascending, each once.

    Raises ConfigError that names the option.
    """
    try:
        values: set[Fraction] = set()
        for item in text.split(","):
            if ":" not in item:
                values.add(Fraction(item.strip()))
                continue
            start, stop, by = (Fraction(part.strip()) for part in item.split(":"))
            if by <= 0 or (stop - start) / by > _MOST_POINTS:
                raise ValueError
            values |= {start + index * by for index in range(floor((stop - start) / by) + 1)}
        if values:
            return tuple(sorted(values))
        raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"{option} {text}: write values as 0.2,0.4,0.6 or from:to:by as 0.2:0.8:0.1") from None


@dataclass(frozen=True)
class SweptHardware:
    """Hardware that device-hours and money are planned with."""

    device: str
    """Name of the device."""
    peak_tflops: float
    """Dense bf16 peak of one device, in 1e12 FLOP/s."""
    mfu: float
    """Model FLOPs utilisation that the plan assumes."""
    price_per_device_hour: Price | None
    """Price of a device-hour; null if neither the config nor `--price` states one."""


@dataclass(frozen=True)
class ParadigmCost:
    """Cost of one paradigm at one point."""

    cost: Cost = field(metadata=INLINE)
    wall_clock_hours: float | None
    """Hours with all devices of the config at work together."""


@dataclass(frozen=True)
class SweepPoint:
    """One combination of alpha, number of versions and growth."""

    alpha: float
    """Share of an increment that the branches decay over."""
    versions: int
    """Number of versions."""
    growth: float
    """Factor from one increment to the next."""
    ratio_to_ptfs: float
    """Steps of path switching over those of PTFS."""
    ratio_to_cpt: float
    """Steps of path switching over those of CPT."""
    costs: Mapping[str, ParadigmCost]
    """Costs of path-switching, ptfs and cpt."""
    loss: PlannedLoss | None = field(default=None, metadata=UNLESS_NONE)
    """Forecast loss of the last version of path switching on the held-out sets of the run's next version, as if text to
    come was like the text so far; the key is absent for a run that was not evaluated."""


@dataclass(frozen=True)
class Sweep:
    """Costs of the three paradigms at every point of a grid."""

    FORMAT: ClassVar[str] = "lrps-sweep/1"
    name: str
    """Name of the run."""
    run_dir: str
    """Directory of the run."""
    first_increment_steps: int
    """Steps of the first increment, those of the config."""
    currency: str | None
    """Currency of all money; null without a price."""
    hardware: SweptHardware | None
    """Hardware of the config; null if the peak of its device is not known."""
    alphas: tuple[float, ...]
    """Alphas of the grid, ascending."""
    versions: tuple[int, ...]
    """Numbers of versions of the grid, ascending."""
    growths: tuple[float, ...]
    """Growths of the grid, ascending."""
    points: tuple[SweepPoint, ...]
    """All combinations: growths, in them versions, in them alphas."""

    def at(self, growth: float, *, alpha: float | None = None, versions: int | None = None) -> list[SweepPoint]:
        """Return the points of one growth, and of one alpha or number of versions if it is given."""
        return [
            point
            for point in self.points
            if point.growth == growth and alpha in (None, point.alpha) and versions in (None, point.versions)
        ]


Losses = Callable[[int, int], PlannedLoss]
"""Function from fork and steps of a branch to the loss of its version."""


def sweep_costs(plan: Plan, grid: Grid, losses: Losses | None = None) -> Sweep:
    """Return the costs of the paradigms at every point of a grid, with the losses of the last versions if known."""
    config, first = _swept(plan.config), plan.increments[0].steps
    points = []
    for growth in grid.growths:
        for number in grid.versions:
            increments = _increments(config, first, growth, number)
            fixed = {kind: _steps(config, kind, increments) for kind in (PTFS, CPT)}
            for alpha in grid.alphas:
                switching = compile_paradigm(_with_alpha(config, alpha), PATH_SWITCHING, increments)
                point = _point(plan, alpha, number, growth, {PATH_SWITCHING: switching.total_steps, **fixed})
                points.append(point if losses is None else replace(point, loss=_last_loss(switching, losses)))
    return Sweep(
        name=plan.config.name,
        run_dir=str(plan.layout.run_dir),
        first_increment_steps=first,
        currency=plan.costs.currency,
        hardware=_hardware(plan),
        alphas=tuple(map(float, grid.alphas)),
        versions=grid.versions,
        growths=tuple(map(float, grid.growths)),
        points=tuple(points),
    )


def _swept(config: Config) -> Config:
    """Return the config with one paradigm of each kind, under the name of the kind.

    Warm-ups and mixes are left out: they change no number of steps, and would limit how small increments can be. So is
    what the config says of single versions, since those of the sweep are others.
    """
    found: dict[str, Strategy] = {}
    for strategy in config.paradigms.values():
        found.setdefault(strategy.kind, strategy)
    switching = found.get(PATH_SWITCHING, PathSwitching(kind="path-switching"))
    assert isinstance(switching, PathSwitching)
    share = switching.alpha_of if switching.alpha_of in ("increment", "steps-so-far") else "increment"
    of_versions: dict[str, Any] = {key: {} for key in ("alpha_per_version", "mix_per_version", "release_per_version")}
    plain: dict[str, Any] = {"alpha_of": share, "mix": Mix(), **of_versions}
    paradigms = {
        PATH_SWITCHING: switching.model_copy(update=plain),
        PTFS: Ptfs(kind="ptfs"),
        CPT: Cpt(kind="cpt"),
    }
    schedule = config.schedule.model_copy(update={"warmup_steps": 0})
    return config.model_copy(update={"schedule": schedule, "paradigms": paradigms})


def _hardware(plan: Plan) -> SweptHardware | None:
    hardware, peak = plan.config.hardware, peak_flops(plan.config.hardware)
    if hardware is None or peak is None:
        return None
    return SweptHardware(hardware.device, peak / 1e12, hardware.mfu, price_of(plan))


def _with_alpha(config: Config, alpha: Fraction) -> Config:
    switching = config.paradigms[PATH_SWITCHING].model_copy(update={"alpha": float(alpha)})
    return config.model_copy(update={"paradigms": {**config.paradigms, PATH_SWITCHING: switching}})


def _increments(config: Config, first: int, growth: Fraction, number: int) -> list[Increment]:
    sizes = [max(1, floor(first * growth**k + Fraction(1, 2))) for k in range(number)]
    return [Increment(f"v{k}", steps * config.batch.sequences, steps) for k, steps in enumerate(sizes, 1)]


def _steps(config: Config, paradigm: str, increments: Sequence[Increment]) -> int:
    return compile_paradigm(config, paradigm, increments).total_steps


def _last_loss(switching: Paradigm, losses: Losses) -> PlannedLoss | None:
    """Return the loss of the last version of a path switching; None for one without a branch."""
    name = switching.releases[-1].path
    last = next(path for path in switching.paths if path.name == name)
    return None if last.parent is None else losses(last.start, last.steps)


def _point(plan: Plan, alpha: Fraction, number: int, growth: Fraction, steps: Mapping[str, int]) -> SweepPoint:
    costs = {name: plan.costs.of(total) for name, total in steps.items()}
    return SweepPoint(
        alpha=float(alpha),
        versions=number,
        growth=float(growth),
        ratio_to_ptfs=steps[PATH_SWITCHING] / steps[PTFS],
        ratio_to_cpt=steps[PATH_SWITCHING] / steps[CPT],
        costs={name: ParadigmCost(cost, wall_clock_hours(plan, cost)) for name, cost in costs.items()},
    )
