"""Sentences of a comparison: the headline, the steps that are missing, and the limits of the measured losses.

The terminal, the page and the Markdown file share them. Every number comes from the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping

from lrps.base.numbers import count, device_time, loss, ratio
from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import MixShares, ParadigmCosts

ONE_RUN = "The losses are those of one run: one seed, one order of the data. Small differences may not repeat."


def headline(comparison: Comparison) -> str:
    """Return the planned and the measured cost of the main paradigm in relation to PTFS, in two or three sentences."""
    name = main_paradigm(comparison)
    paradigm, versions = comparison.paradigms[name], len(comparison.plan.versions)
    plan = paradigm.plan
    planned = (
        f"{versions} version{'s' if versions > 1 else ''}: {name} takes {count(plan.cost.steps)} steps, "
        f"{ratio(plan.ratio_to_ptfs)} of those of training every version from scratch (PTFS) and "
        f"{ratio(plan.ratio_to_cpt)} of those of continual pre-training (CPT)."
    )
    return f"{planned} {_measured(name, paradigm)}{_losses(comparison)}"


def main_paradigm(comparison: Comparison) -> str:
    """Return the paradigm of the headline: the first path switching of the config, or else its first paradigm."""
    kinds = {name: paradigm.plan.kind for name, paradigm in comparison.paradigms.items()}
    return next((name for name, kind in kinds.items() if kind == "path-switching"), next(iter(kinds)))


def _measured(name: str, paradigm: ParadigmCosts) -> str:
    measured = paradigm.measured
    if measured is None:
        return f"No cost of {name} has been measured yet."
    hours = f"{device_time(measured.device_hours)} of device time allocated on {measured.device}"
    training = f"{device_time(measured.training_hours)} of it in optimizer steps"
    if not paradigm.complete:
        done = f"{count(measured.total_steps)} of {count(paradigm.plan.cost.steps)} steps"
        return f"Measured so far: {done}, {hours}, {training}."
    ratios = paradigm.ratios
    return f"Measured: {hours}{_of_ptfs(ratios.allocated_to_ptfs)}, {training}{_of_ptfs(ratios.training_to_ptfs)}."


def _of_ptfs(share: float | None) -> str:
    return "" if share is None else f" ({ratio(share)} of those of PTFS)"


def _losses(comparison: Comparison) -> str:
    """Return the mean held-out loss of the newest version, of every paradigm where it was measured."""
    newest = {name: paradigm.releases[-1].seen_loss for name, paradigm in comparison.paradigms.items()}
    known = [f"{name} {loss(value)}" for name, value in newest.items() if value is not None]
    version = comparison.plan.versions[-1].name
    return f" Held-out loss of {version}, mean over all versions: {', '.join(known)}." if known else ""


def mixing(comparison: Comparison) -> list[str]:
    """Return a sentence for each paradigm whose branches or CPT paths do not read new sequences alone and in order."""
    sentences = []
    for name, paradigm in comparison.paradigms.items():
        mixes: dict[str, list[str]] = {}
        for version, mix in (paradigm.mix or {}).items():
            mixes.setdefault(_shares(mix), []).append(version)
        branches = f"{'branches' if paradigm.plan.kind == 'path-switching' else 'paths'} of {name}"
        if len(mixes) > 1:
            by_version = "; ".join(f"{shares} ({', '.join(versions)})" for shares, versions in mixes.items())
            sentences.append(f"Sequences of the {branches}: {by_version}.")
        elif mixes and _NEW_ALONE not in mixes:
            sentences.append(f"Sequences of the {branches}: {next(iter(mixes))}.")
        if paradigm.branch_data == "whole":
            sentences.append(f"The {branches} draw their new sequences from all data of the version.")
    return sentences


_NEW_ALONE = "100% new"


def _shares(mix: MixShares) -> str:
    shares: Mapping[str, float] = {"new": mix.new, "replay": mix.replay, "rehearsal": mix.rehearsal}
    return ", ".join(f"{100 * share:.4g}% {kind}" for kind, share in shares.items() if share)


def other_histories(comparison: Comparison) -> list[str]:
    """Return a sentence for each path whose parent has another state at the fork now than the one it began from."""
    return [f"Warning: {name} was {what}." for name, what in comparison.other_parents.items()]


def still_to_do(comparison: Comparison) -> str:
    """Return one line: the paths that are missing, and the command that trains them."""
    unbuilt = [version.name for version in comparison.plan.versions if version.manifest_sha256 is None]
    states = {path.plan.name: path.state for p in comparison.paradigms.values() for path in p.paths}
    missing = [name for name, state in states.items() if state != "complete"]
    if not missing:
        return "Everything is trained and evaluated."
    build = f"shards of {', '.join(unbuilt)} (`lrps data build CONFIG`), then " if unbuilt else ""
    steps = comparison.plan.to_do.steps
    work = f"{count(steps)} steps" if steps else "evaluations"
    return f"Still to do: {build}{work} of {len(missing)} path{'s' if len(missing) > 1 else ''} (`lrps run CONFIG`)."
