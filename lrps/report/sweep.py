"""What-if: the cost of path switching beside PTFS and CPT over alpha, number of versions and growth of the increments.

Plan arithmetic alone: every point is compiled as a plan would be, with increments T_k = T_1 * growth ** (k - 1) in
whole steps, T_1 being that of the config. Device-hours and money are planned: by the hardware and mfu of the config.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.numbers import amount, count, ratio
from lrps.charts.axes import number_axis
from lrps.charts.line import Chart, Mark, Series
from lrps.charts.svg import SLOTS, Drawing
from lrps.config.models import Config
from lrps.config.strategies import Cpt, Mix, PathSwitching, Ptfs, Strategy
from lrps.paths.cost import peak_flops
from lrps.paths.increments import Increment
from lrps.paths.paradigms.compile import compile_paradigm
from lrps.plan.plan import Plan
from lrps.report.totals_table import csv_text

_MOST_POINTS, _MOST_VERSIONS, _MOST_GROWTH = 10_000, 100, 10


@dataclass(frozen=True)
class Grid:
    """The points of a sweep: every combination."""

    alphas: tuple[Fraction, ...]
    versions: tuple[int, ...]
    growths: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        if any(not 0 < alpha <= 1 for alpha in self.alphas):
            raise ConfigError("--alpha: a share of the increment lies above 0 and is at most 1")
        if any(not 1 <= number <= _MOST_VERSIONS for number in self.versions):
            raise ConfigError(f"--versions: from 1 to {_MOST_VERSIONS}")
        if any(not 0 < growth <= _MOST_GROWTH for growth in self.growths):
            raise ConfigError(f"--growth: above 0 and at most {_MOST_GROWTH}; 1 is increments of one size")
        if len(self.alphas) * len(self.versions) * len(self.growths) > _MOST_POINTS:
            raise ConfigError(f"a sweep of more than {_MOST_POINTS:,} points; name fewer values")


def parse_values(text: str, option: str) -> tuple[Fraction, ...]:
    """`0.2,0.4` or `0.2:0.8:0.1` (from, to, by; both ends are in), ascending and each once.

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


def sweep_document(plan: Plan, grid: Grid) -> dict[str, Any]:
    """One point a combination, with the cost of the three paradigms; null where the hardware is not known."""
    config, first = _swept(plan.config), plan.increments[0].steps
    points = []
    for growth in grid.growths:
        for number in grid.versions:
            increments = _increments(config, first, growth, number)
            fixed = {kind: _steps(config, kind, increments) for kind in ("ptfs", "cpt")}
            for alpha in grid.alphas:
                steps = {"path-switching": _steps(_with_alpha(config, alpha), "path-switching", increments), **fixed}
                points.append(_point(plan, alpha, number, growth, steps))
    return {
        "name": plan.config.name,
        "run_dir": str(plan.layout.run_dir),
        "first_increment_steps": first,
        "currency": plan.costs.currency,
        "hardware": _hardware(config),
        "alphas": [float(alpha) for alpha in grid.alphas],
        "versions": list(grid.versions),
        "growths": [float(growth) for growth in grid.growths],
        "points": points,
    }


def _swept(config: Config) -> Config:
    """The config with one paradigm of each kind, by its kind's name. Warm-ups and mixes change no number of steps, and
    increments shall be free to become small; what the config says of single versions is about other versions."""
    found: dict[str, Strategy] = {}
    for strategy in config.paradigms.values():
        found.setdefault(strategy.kind, strategy)
    switching = found.get("path-switching", PathSwitching(kind="path-switching"))
    assert isinstance(switching, PathSwitching)
    share = switching.alpha_of if switching.alpha_of in ("increment", "steps-so-far") else "increment"
    plain: dict[str, Any] = {"alpha_of": share, "alpha_per_version": {}, "mix": Mix(), "mix_per_version": {}}
    paradigms = {
        "path-switching": switching.model_copy(update=plain),
        "ptfs": Ptfs(kind="ptfs"),
        "cpt": Cpt(kind="cpt"),
    }
    schedule = config.schedule.model_copy(update={"warmup_steps": 0})
    return config.model_copy(update={"schedule": schedule, "paradigms": paradigms})


def _hardware(config: Config) -> dict[str, Any] | None:
    """What device-hours and money are planned with; null where the config does not say it."""
    hardware, peak = config.hardware, peak_flops(config.hardware)
    if hardware is None or peak is None:
        return None
    price = hardware.price_per_device_hour
    return {
        "device": hardware.device,
        "peak_tflops": peak / 1e12,
        "mfu": hardware.mfu,
        "price_per_device_hour": None if price is None else price.model_dump(mode="json"),
    }


def _with_alpha(config: Config, alpha: Fraction) -> Config:
    switching = config.paradigms["path-switching"].model_copy(update={"alpha": float(alpha)})
    return config.model_copy(update={"paradigms": {**config.paradigms, "path-switching": switching}})


def _increments(config: Config, first: int, growth: Fraction, number: int) -> list[Increment]:
    sizes = [max(1, floor(first * growth**k + Fraction(1, 2))) for k in range(number)]
    return [Increment(f"v{k}", steps * config.batch.sequences, steps) for k, steps in enumerate(sizes, 1)]


def _steps(config: Config, paradigm: str, increments: Sequence[Increment]) -> int:
    return compile_paradigm(config, paradigm, increments).total_steps


def _point(plan: Plan, alpha: Fraction, number: int, growth: Fraction, steps: Mapping[str, int]) -> dict[str, Any]:
    hardware, costs = plan.config.hardware, {}
    for name, total in steps.items():
        cost = plan.costs.of(total)
        hours = cost.device_hours
        costs[name] = {
            "steps": total,
            "tokens": cost.tokens,
            "flops": cost.flops,
            "device_hours": hours,
            "wall_clock_hours": None if hours is None or hardware is None else hours / hardware.devices,
            "money": cost.money,
        }
    return {
        "alpha": float(alpha),
        "versions": number,
        "growth": float(growth),
        "ratio_to_ptfs": steps["path-switching"] / steps["ptfs"],
        "ratio_to_cpt": steps["path-switching"] / steps["cpt"],
        "costs": costs,
    }


def _unit(document: Mapping[str, Any]) -> tuple[str, str]:
    """(key, name) of the dearest unit that is known: money, device-hours or steps."""
    known = document["points"][0]["costs"]["ptfs"]
    if known["money"] is not None:
        return "money", document["currency"]
    return ("device_hours", "device-hours") if known["device_hours"] is not None else ("steps", "steps")


def tables(document: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, titles of columns, rows) for each growth: alpha downwards, versions across. Then the three costs."""
    found = []
    head = ["alpha", *(f"N = {number}" for number in document["versions"])]
    for growth in document["growths"]:
        for key, base in (("ratio_to_ptfs", "PTFS"), ("ratio_to_cpt", "CPT")):
            rows = [
                [f"{alpha:g}", *(ratio(point[key]) for point in _points(document, growth=growth, alpha=alpha))]
                for alpha in document["alphas"]
            ]
            found.append((f"path switching, of {base}{_growing(growth)}", head, rows))
        found.append(_cost_table(document, growth))
    return found


def _cost_table(document: Mapping[str, Any], growth: float) -> tuple[str, list[str], list[list[str]]]:
    key, name = _unit(document)
    show = count if key == "steps" else amount
    rows = []
    for alpha in document["alphas"]:
        points = _points(document, growth=growth, alpha=alpha)
        rows.append([f"path switching, alpha {alpha:g}", *(show(p["costs"]["path-switching"][key]) for p in points)])
    for kind, title in (("ptfs", "PTFS"), ("cpt", "CPT")):
        points = _points(document, growth=growth, alpha=document["alphas"][0])
        rows.append([title, *(show(point["costs"][kind][key]) for point in points)])
    return (
        f"{name}, planned{_growing(growth)}",
        ["paradigm", *(f"N = {number}" for number in document["versions"])],
        rows,
    )


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What the tables rest on, a sentence a line."""
    first = f"The first increment is that of the config: T = {count(document['first_increment_steps'])} steps."
    hardware = document["hardware"]
    if hardware is None or _unit(document)[0] == "steps":
        return [f"{first} Costs are in steps: the config does not say what they take."]
    peak = f"the peak of {hardware['device']} ({hardware['peak_tflops']:g} TFLOP/s) x hardware.mfu {hardware['mfu']:g}"
    price = hardware["price_per_device_hour"]
    told = f"Planned, nothing of it was measured: model FLOPs over {peak}"
    if price is None:
        return [first, f"{told}."]
    paid = f"{price['amount']:g} {price['currency']} a device-hour ({price['source']}, {price['date']})"
    return [first, f"{told}, at {paid}."]


def _growing(growth: float) -> str:
    return "" if growth == 1 else f", each increment {growth:g} times the last"


def _points(document: Mapping[str, Any], **wanted: float) -> list[Mapping[str, Any]]:
    return [point for point in document["points"] if all(point[key] == value for key, value in wanted.items())]


def as_csv(document: Mapping[str, Any]) -> str:
    """A row a point and paradigm, full precision; empty where there is no value."""
    fields = ("steps", "tokens", "flops", "device_hours", "wall_clock_hours", "money")
    rows = [
        [point["growth"], point["versions"], point["alpha"], name, *(cost[field] for field in fields)]
        for point in document["points"]
        for name, cost in point["costs"].items()
    ]
    return csv_text(["growth", "versions", "alpha", "paradigm", *fields], rows)


def charts(document: Mapping[str, Any]) -> dict[str, Drawing]:
    """Name of a file -> drawing: ratios over alpha and over versions, and costs over versions, for each growth."""
    drawn = {}
    for growth in document["growths"]:
        end = "" if growth == 1 else f"-growth-{growth:g}"
        for key, base in (("ratio_to_ptfs", "PTFS"), ("ratio_to_cpt", "CPT")):
            drawn[f"{base.lower()}-over-alpha{end}"] = _over_alpha(document, growth, key, base)
            drawn[f"{base.lower()}-over-versions{end}"] = _over_versions(document, growth, key, base)
        drawn[f"cost-over-versions{end}"] = _cost_over_versions(document, growth)
    return drawn


def _over_alpha(document: Mapping[str, Any], growth: float, key: str, base: str) -> Drawing:
    numbers = _spread(document["versions"])
    lines = {
        f"N = {number}": [(p["alpha"], p[key] * 100) for p in _points(document, growth=growth, versions=number)]
        for number in numbers
    }
    return _drawn(f"Cost of path switching, % of {base}", "alpha", "% of steps", growth, lines)


def _over_versions(document: Mapping[str, Any], growth: float, key: str, base: str) -> Drawing:
    lines = {
        f"alpha {alpha:g}": [(p["versions"], p[key] * 100) for p in _points(document, growth=growth, alpha=alpha)]
        for alpha in _spread(document["alphas"])
    }
    return _drawn(f"Cost of path switching, % of {base}", "versions", "% of steps", growth, lines)


def _cost_over_versions(document: Mapping[str, Any], growth: float) -> Drawing:
    key, name = _unit(document)
    alphas = document["alphas"]

    def line(kind: str, alpha: float) -> list[tuple[float, float]]:
        points = _points(document, growth=growth, alpha=alpha)
        return [(float(point["versions"]), float(point["costs"][kind][key])) for point in points]

    switched = {f"alpha {alpha:g}": line("path-switching", alpha) for alpha in dict.fromkeys((alphas[0], alphas[-1]))}
    lines = {"PTFS": line("ptfs", alphas[0]), **switched, "CPT": line("cpt", alphas[0])}
    return _drawn("Cost of all versions together", "versions", name, growth, lines, from_zero=True)


def _spread(values: Sequence[Any]) -> list[Any]:
    """At most as many as look different, evenly chosen, both ends among them."""
    last = min(len(values), SLOTS) - 1
    return [values[round(i * (len(values) - 1) / last)] for i in range(last + 1)] if last else list(values[:1])


def _drawn(
    title: str,
    x: str,
    y: str,
    growth: float,
    lines: Mapping[str, Iterable[tuple[float, float]]],
    *,
    from_zero: bool = False,
) -> Drawing:
    points = {name: tuple(line) for name, line in lines.items()}
    every = [point for line in points.values() for point in line]
    series = tuple(
        Series(slot, (line,), tuple(Mark(at, f"{name}: {at[1]:,.4g} {y} at {x} {at[0]:g}") for at in line), name)
        for slot, (name, line) in enumerate(points.items())
    )
    return Chart(
        title=title,
        description=f"{title}, over {x}{_growing(growth)}: {y}, planned. A line each for {', '.join(points)}.",
        x=number_axis(x, [at[0] for at in every], whole=x == "versions"),
        y=number_axis(f"{y}, planned", [at[1] for at in every], from_zero=from_zero),
        series=series,
        note=_growing(growth).removeprefix(", "),
    ).draw()
