"""What versions cost, against an implementation that books every second of made-up runs one by one.

The simulation below writes ledgers as trainers do: with failures at any step, lost and repeated steps, saves, start-up,
evaluations and several attempts. Beside it keeps a list of entries, each a path, one of its steps, and what was spent
there. The reference sums entries; it knows of no step ranges, no counters and no attempts.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.costs.comparison import make_comparison
from lrps.costs.tagged_cost import TaggedCost
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.paths.graph import Paradigm, Release, TrainingPath
from lrps.plan.plan import Plan, make_plan

BATCH_TOKENS = 256
FIELDS = ("tokens", "flops", "device_hours", "training_hours", "money", "energy_kwh")


@dataclass(frozen=True)
class Entry:
    """Spent on step `step` (from 1) of a path: optimizer steps (0 or 1), device-seconds, joules, at a price."""

    path: str
    step: int
    steps: int
    seconds: float
    joules: float
    price: float

    def amounts(self, flops_per_token: int) -> dict[str, Fraction]:
        seconds, tokens = Fraction(self.seconds), self.steps * BATCH_TOKENS
        return {
            "tokens": Fraction(tokens),
            "flops": Fraction(tokens * flops_per_token),
            "device_hours": seconds / 3600,
            "training_hours": seconds * self.steps / 3600,
            "money": seconds / 3600 * Fraction(self.price),
            "energy_kwh": Fraction(self.joules) / 3_600_000,
        }


@dataclass
class Simulation:
    """Trains the paths of a plan with dice."""

    plan: Plan
    seed: int
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def train(self, path: TrainingPath, stop: int) -> None:
        """To `stop`; at path.stop its releases are evaluated."""
        saved = best = path.start
        for _ in range(self.dice.randrange(3)):
            saved, best = self._attempt(path, saved, self.dice.randint(saved, stop), best, dies=True)
        self._attempt(path, saved, stop, best, dies=False)

    def die(self, path: TrainingPath, step: int) -> int:
        """One attempt that ends at `step` without a warning; the step that it saved."""
        saved, _ = self._attempt(path, path.start, step, path.start, dies=True)
        return saved

    def _attempt(self, path: TrainingPath, start: int, stop: int, best: int, dies: bool) -> tuple[int, int]:
        """(saved step, highest step) after it."""
        price = self.dice.choice([1.0, 2.5])
        ledger, counters = LedgerWriter(self.plan.layout.path(path.name).ledger), Counters(energy_joules=0.0)
        saved, kept = start, {*self.plan.graph.branch_points(path.name), stop if not dies else -1}

        def spend(step: int, kind: str, steps: int = 0) -> None:
            seconds, joules = self.dice.randrange(1, 80) / 8, float(self.dice.randrange(1, 50))
            counters.allocated_seconds += seconds
            counters.energy_joules = (counters.energy_joules or 0.0) + joules
            setattr(counters, f"{kind}_seconds", getattr(counters, f"{kind}_seconds") + seconds)
            counters.steps, counters.tokens = counters.steps + steps, counters.tokens + steps * BATCH_TOKENS
            counters.flops = counters.tokens * (self.plan.costs.flops_per_token or 0)
            self.entries.append(Entry(path.name, step, steps, seconds, joules, price))

        def write(kind: str, step: int, **facts: Any) -> None:
            ledger.append(kind, step, counters, **facts)

        spend(min(start + 1, path.stop), "starting")
        priced = {"amount": price, "currency": "EUR"}
        facts = {"format": FORMAT, "path": path.name, "path_start": path.start, "device": "cpu", "processes": 2}
        write("start", start, price_per_device_hour=priced, **facts)
        for step in range(start + 1, stop + 1):
            again = step <= best
            spend(step, "repeating" if again else "training", 1)
            counters.repeated_steps += again
            counters.repeated_tokens += again * BATCH_TOKENS
            if step % 4 == 0 or step in kept:
                write("heartbeat", step)
            if step in kept or (step % 6 == 0 and self.dice.random() < 0.7):
                if step % 4 and step not in kept:
                    write("heartbeat", step)
                spend(step, "saving")
                write("checkpoint", step, saved_step=step)
                saved = step
        self._end(path, stop, dies, spend, write)
        ledger.close()
        return saved, max(best, stop)

    def _end(self, path: TrainingPath, stop: int, dies: bool, spend: Any, write: Any) -> None:
        if dies:
            write("failure", stop)  # what was spent since the last record is in it
            return
        for release in (r for r in self.plan.graph.releases if r.path == path.name and stop == path.stop):
            spend(release.step, "evaluating")
            loss = {"loss": 2.0, "bits_per_byte": 1.0, "rows": 1, "tokens": 1, "manifest_sha256": "0"}
            write("evaluation", release.step, heldout=release.version, **loss)
        write("stop", stop, outcome="complete" if stop == path.stop else "interrupted")


def steps_of(paradigm: Paradigm, release: Release) -> Iterator[tuple[str, int]]:
    by_name = {path.name: path for path in paradigm.paths}
    path, step = by_name[release.path], release.step
    while step > 0:
        if step == path.start and path.parent is not None:
            path = by_name[path.parent.path]
        else:
            yield path.name, step
            step -= 1


def reference(paradigm: Paradigm, entries: list[Entry], per_token: int) -> dict[str, dict[str, dict[str, Fraction]]]:
    """version -> marginal | shared | lineage -> field -> amount; version "" has the total of the paradigm."""
    needs = {release.version: set(steps_of(paradigm, release)) for release in paradigm.releases}
    stops = {path.name: path.stop for path in paradigm.paths}
    sums = {v: {key: dict.fromkeys(FIELDS, Fraction(0)) for key in ("marginal", "shared", "lineage")} for v in needs}
    total = dict.fromkeys(FIELDS, Fraction(0))
    for entry in entries:
        if entry.step > stops.get(entry.path, 0):
            continue
        users = [version for version, steps in needs.items() if (entry.path, entry.step) in steps]
        for name, amount in entry.amounts(per_token).items():
            total[name] += amount
            sums[users[0]]["marginal"][name] += amount
            for version in users:
                sums[version]["shared"][name] += amount / len(users)
                sums[version]["lineage"][name] += amount
    return {**sums, "": {"total": total}}


def a_plan(formulas: Any, root: Path, steps: list[int], alphas: list[float], longer: float) -> Plan:
    data = formulas.config(root).data.model_dump()
    versions = [{"name": f"v{k}", "tokens": count * BATCH_TOKENS} for k, count in enumerate(steps, 1)]
    per_version = {f"v{k}": alpha for k, alpha in enumerate(alphas[: len(steps)], 1)}
    strategies = {
        "path-switching": {"alpha_per_version": per_version},
        "other": {"kind": "path-switching", "alpha": longer},  # shares the main path, and cuts it elsewhere
        "ptfs": {},
        "cpt": {},  # its first version is that of ptfs
    }
    return make_plan(
        formulas.config(
            root,
            data={**data, "versions": versions},
            schedule={"peak_lr": 3e-3, "warmup_steps": 2},
            hardware=formulas.PRICED,
            paradigms=strategies,
        )
    )


def amounts(cost: TaggedCost) -> dict[str, Any]:
    return {name: getattr(cost, name) for name in FIELDS}


SIZES = st.lists(st.integers(6, 20), min_size=1, max_size=4)
ALPHAS = st.lists(st.sampled_from([0.2, 0.5, 0.8]), min_size=4, max_size=4)


@settings(max_examples=25, deadline=None)
@given(steps=SIZES, alphas=ALPHAS, longer=st.sampled_from([0.3, 0.6, 0.9]), seed=st.integers(0, 10**6))
def test_costs_of_versions_are_the_sums_of_their_entries(
    formulas: Any, steps: list[int], alphas: list[float], longer: float, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as root:
        plan = a_plan(formulas, Path(root), steps, alphas, longer)
        simulation = Simulation(plan, seed)
        for path in plan.graph.paths:
            simulation.train(path, path.stop)
        comparison = make_comparison(plan)
    assert plan.costs.flops_per_token is not None
    for paradigm in plan.graph.paradigms:
        found = comparison.paradigms[paradigm.name]
        expected = reference(paradigm, simulation.entries, plan.costs.flops_per_token)
        assert (found.estimate, found.unreleased) == (None, None)
        for release in found.releases:
            for key, wanted in expected[release.version].items():
                cost = getattr(release.cost, key)
                assert cost.basis == "measured"
                assert amounts(cost) == pytest.approx({name: float(value) for name, value in wanted.items()})
        whole, total = found.whole, expected[""]["total"]
        assert amounts(whole) == pytest.approx({name: float(value) for name, value in total.items()})
        assert sum(release.cost.marginal.steps for release in found.releases) == whole.steps


@settings(max_examples=20, deadline=None)
@given(steps=SIZES, seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_what_was_not_trained_costs_what_the_rest_did(formulas: Any, steps: list[int], seed: int, share: float) -> None:
    """A measured token costs all device-seconds over all distinct steps; what is missing costs that."""
    with tempfile.TemporaryDirectory() as root:
        plan = a_plan(formulas, Path(root), steps, [0.5] * 4, 0.5)
        simulation, dice = Simulation(plan, seed), random.Random(seed)
        reached = {path.name: path.start for path in plan.graph.paths}
        begun = [path for path in plan.graph.paths if path.parent is None and dice.random() < share]
        for path in begun:
            reached[path.name] = dice.randint(path.start, path.stop)
            simulation.train(path, reached[path.name])
        comparison = make_comparison(plan)
    useful = sum(reached[path.name] - path.start for path in begun)
    assert comparison.cost_model.steps == useful
    seconds_a_step = sum(entry.seconds for entry in simulation.entries) / useful if useful else None
    for paradigm in plan.graph.paradigms:
        rest = sum(path.stop - min(reached[path.name], path.stop) for path in paradigm.paths)
        costs = comparison.paradigms[paradigm.name]
        estimate = costs.estimate
        if rest == 0:
            assert estimate is None
            continue
        assert estimate is not None
        assert estimate.steps == paradigm.total_steps
        if seconds_a_step is None:
            assert (estimate.device_hours, estimate.basis) == (None, None)
            continue
        names = {path.name for path in paradigm.paths}
        spent = sum(entry.seconds for entry in simulation.entries if entry.path in names)
        assert estimate.device_hours == pytest.approx((spent + rest * seconds_a_step) / 3600)
        assert estimate.basis == "modelled"
        for key in ("marginal", "shared"):
            versions = [getattr(release.cost, key) for release in costs.releases]
            assert sum(cost.device_hours for cost in versions) == pytest.approx(estimate.device_hours)
            assert sum(cost.money for cost in versions) == pytest.approx(estimate.money)


def test_steps_that_a_dead_attempt_lost_have_to_be_paid_for_again(formulas: Any, tmp_path: Path) -> None:
    plan = a_plan(formulas, tmp_path, [20], [0.5] * 4, 0.5)
    simulation, path = Simulation(plan, seed=3), plan.graph.by_name["ptfs-v1"]
    saved = simulation.die(path, 11)
    assert saved == 6
    estimate = make_comparison(plan).paradigms["ptfs"].estimate
    assert estimate is not None
    assert (estimate.steps, estimate.tokens) == (20, (11 + 14) * BATCH_TOKENS)


def test_a_complete_ledger_is_measured_also_where_no_checkpoint_is_left(formulas: Any, tmp_path: Path) -> None:
    plan = a_plan(formulas, tmp_path, [20], [0.5] * 4, 0.5)
    path = plan.graph.by_name["ptfs-v1"]
    ledger = LedgerWriter(plan.layout.path(path.name).ledger)
    facts = {"format": FORMAT, "path": path.name, "path_start": 0, "device": "cpu", "processes": 2}
    ledger.append("start", 0, Counters(), **facts)
    ledger.append("stop", 20, Counters(steps=20, tokens=20 * BATCH_TOKENS, allocated_seconds=36.0), outcome="complete")
    ledger.close()
    paradigm = make_comparison(plan).paradigms["ptfs"]
    assert paradigm.estimate is None
    (release,) = paradigm.releases
    assert release.cost.lineage.device_hours == pytest.approx(0.01)
    assert release.cost.lineage.money == pytest.approx(0.02), "the ledger has no price, the config has"


def test_a_directory_of_another_plan_is_not_booked(formulas: Any, tmp_path: Path) -> None:
    plan = a_plan(formulas, tmp_path, [20], [0.5] * 4, 0.5)
    formulas.Run(plan).train(["ptfs-v1"])
    other = make_plan(plan.config.model_copy(update={"seed": 5}))
    paradigm = make_comparison(other).paradigms["ptfs"]
    assert paradigm.estimate is not None
    assert (paradigm.estimate.device_hours, paradigm.measured) == (None, None)
