"""Cost of every version of a paradigm: measured for the steps that were trained, modelled for the others.

paths/attribution.py says which version a step belongs to, costs/spending.py what it cost, and costs/estimate.py what it
is estimated to cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lrps.costs.estimate import Estimate
from lrps.costs.path_spending import PathSpending
from lrps.costs.spending import Spending, sum_spending
from lrps.costs.tagged_cost import TaggedCost
from lrps.paths.attribution import StepRange, attribute
from lrps.paths.graph import Paradigm


@dataclass(frozen=True)
class VersionCosts:
    """Cost of a released version, counted in three ways (paths/attribution.py)."""

    marginal: TaggedCost
    """Cost of the steps that this version needs and no earlier one does."""
    shared: TaggedCost
    """Cost of all steps that the version needs, each divided equally between all versions that need it."""
    lineage: TaggedCost
    """Cost of all steps that the version needs: its cost on its own."""


@dataclass(frozen=True)
class AttributedCosts:
    """Cost of a paradigm, attributed to its versions."""

    versions: Mapping[str, VersionCosts]
    """Costs by version, oldest first."""
    unreleased: TaggedCost | None
    """Cost of the steps that no version needs; None if there are none."""
    estimate: TaggedCost | None
    """Cost of the whole paradigm, with an estimate of its missing steps; None if it was trained to its end."""


def attributed_costs(paradigm: Paradigm, spendings: Mapping[str, PathSpending], estimate: Estimate) -> AttributedCosts:
    """Book every path of a paradigm on its step ranges, and attribute these to its versions. spendings: by path."""
    attribution = attribute(paradigm)
    of_path: dict[str, list[StepRange]] = {}
    for step_range in attribution.step_ranges:
        of_path.setdefault(step_range.path, []).append(step_range)
    spent: dict[StepRange, Spending] = {}
    for name, step_ranges in of_path.items():
        spent |= spendings[name].of(step_ranges, estimate)

    def cost(spendings: Iterable[Spending]) -> TaggedCost:
        return TaggedCost.of(sum_spending(spendings))

    versions = {}
    for release, lineage in attribution.lineages.items():
        shares = attribution.shared(release).items()
        versions[release.version] = VersionCosts(
            marginal=cost(spent[step_range] for step_range in attribution.marginal(release)),
            shared=cost(spent[step_range].part(share) for step_range, share in shares),
            lineage=cost(spent[step_range] for step_range in lineage),
        )
    unreleased = cost(spent[step_range] for step_range in attribution.unreleased) if attribution.unreleased else None
    whole = sum_spending(spent.values())
    return AttributedCosts(versions, unreleased, TaggedCost.of(whole) if whole.modelled else None)
