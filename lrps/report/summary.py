"""Sentences of a comparison: the mixes, the steps that are missing, and the limits of the measured losses."""

from __future__ import annotations

from lrps.base.numbers import count
from lrps.costs.comparison import Comparison
from lrps.costs.measured_cost import MeasuredCost
from lrps.costs.paradigm_costs import MixShares
from lrps.ledger.frequent_skips import frequent_skips_text

ONE_RUN = "The losses are those of one run: one seed, one order of the data. Small differences may not repeat."


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
    shares = {"new": mix.new, "replay": mix.replay, "rehearsal": mix.rehearsal, **(mix.sets or {})}
    words = ", ".join(f"{100 * share:.4g}% {kind}" for kind, share in shares.items() if share)
    added = ", ".join(f"{100 * share:.4g}% {name}" for name, share in (mix.extra or {}).items())
    return f"{words} and, in steps of their own, {added} more" if added else words


def other_histories(comparison: Comparison) -> list[str]:
    """Return a sentence for each path whose parent has another state at the fork now than the one it began from."""
    return [f"Warning: {name} was {what}." for name, what in comparison.other_parents.items()]


def doubts(comparison: Comparison) -> list[str]:
    """Return a sentence for each path whose training has failed or whose guard passes too many steps, for each branch
    that has left its forecast, and for each last state that nothing confirms yet."""
    failed = [f"Warning: {name}: {what.splitlines()[0]}" for name, what in comparison.failures.items()]
    measured = _measured(comparison).items()
    failed += [
        f"Warning: {name}: {frequent_skips_text(each.frequent_skips, name)}."
        for name, each in measured
        if each.frequent_skips
    ]
    off = [f"Warning: {name}: {what}." for name, what in comparison.off_forecast.items()]
    unconfirmed = [
        f"The last state of {name}, step {count(step)}, is not confirmed yet: no path was trained from it, and it was "
        "not evaluated."
        for name, step in comparison.unconfirmed.items()
    ]
    return failed + off + unconfirmed


def refused_forecast(comparison: Comparison) -> list[str]:
    """Return the sentence on a forecast that is refused; nothing if there is one, or none can be expected."""
    return [f"No forecast: {comparison.forecast_refused}."] if comparison.forecast_refused else []


def noticed_steps(comparison: Comparison) -> list[str]:
    """Return a sentence for each path with steps that passed without an update, or with spikes."""
    return [f"Note: {name}: {each.noticed}." for name, each in _measured(comparison).items() if each.noticed]


def _measured(comparison: Comparison) -> dict[str, MeasuredCost]:
    return {path.plan.name: path.measured for p in comparison.paradigms.values() for path in p.paths}


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
