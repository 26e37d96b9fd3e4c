"""The states of a plan that go to a repository of models: versions as branches of it, branch points as tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lrps.base.errors import ConfigError
from lrps.export.states import PathState, released_state
from lrps.ledger.reader import RAW
from lrps.plan.plan import Plan

MAIN = "main"
"""Branch that is loaded where no revision is named: it has the newest version."""
BRANCH_POINTS = "branch-points"
"""Branch whose commits are the branch points, each with a tag."""
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.lock)(?<!\.)")


@dataclass(frozen=True)
class Publication:
    """One state that is published."""

    state: PathState
    """State of a path."""
    branch: str
    """Branch of the repository that it is committed to."""
    tag: str | None = None
    """Tag of its commit; None for a version, whose branch has nothing else."""

    @property
    def revision(self) -> str:
        """Name under which the state is loaded: `from_pretrained(repo, revision=...)`."""
        return self.tag or self.branch

    @property
    def message(self) -> str:
        """Message of the commit."""
        what = f"{self.state.path.name} at step {self.state.step}"
        form = f", {self.state.form_in_words}" if self.state.form_in_words else ""
        return f"Version {self.branch}: {what}{form}" if self.tag is None else f"Branch point: {what}"


def publications(
    plan: Plan, versions: Sequence[str], paradigm: str, *, branch_points: bool = False
) -> tuple[Publication, ...]:
    """Return what is published for versions of a paradigm, in the order of the plan.

    branch_points: whether the states that the versions' branches forked from are published as well; they come first.
    Raises ConfigError for unknown versions and for names that no branch of a repository can have.
    """
    names = [increment.version for increment in plan.increments]
    for version in versions:
        if version not in names:
            raise ConfigError(f"version {version}: the config has {', '.join(names)}")
        if version in (MAIN, BRANCH_POINTS) or ".." in version or not _REVISION.fullmatch(version):
            raise ConfigError(
                f"version {version}: a branch of the repository cannot have this name; give the version another one in "
                "data.versions"
            )
    releases = next(each.releases for each in plan.graph.paradigms if each.name == paradigm)
    chosen = [each for each in releases if each.version in versions]
    points = [_branch_point(plan, each.path) for each in chosen] if branch_points else []
    found = {each.tag: each for each in points if each is not None}
    released = [Publication(released_state(plan, each), each.version) for each in chosen]
    return (*sorted(found.values(), key=lambda each: each.state.step), *released)


def _branch_point(plan: Plan, name: str) -> Publication | None:
    """Return the state that a path forked from; None for a path without a parent."""
    fork = plan.graph.by_name[name].parent
    if fork is None:
        return None
    state = PathState(plan.graph.by_name[fork.path], fork.step, (), RAW)
    return Publication(state, BRANCH_POINTS, f"{fork.path}-step-{fork.step}")
