"""Publication of exported states on the Hugging Face Hub: each once, and the newest version as the default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lrps.base.errors import ConfigError
from lrps.export.hub import Hub
from lrps.export.publication import MAIN, Publication
from lrps.export.release import ExportFormat, export_state
from lrps.plan.plan import Plan
from lrps.store.layout import RELEASE_FACTS

Outcome = Literal["new", "there already", "replaced", "compared after its export"]


@dataclass(frozen=True)
class Published:
    """One revision of the repository after the command; in a dry run, after the command that would write it."""

    revision: str
    """Name under which the state is loaded."""
    path: str
    """Name of the path."""
    step: int
    """Lineage step of the state."""
    directory: Path
    """Directory of the export."""
    bytes: int | None
    """Size of all files; None in a dry run for a state that is not exported yet."""
    outcome: Outcome
    """Change of the revision by the command."""


def publish_states(
    plan: Plan,
    chosen: Sequence[Publication],
    hub: Hub,
    form: ExportFormat,
    *,
    private: bool,
    force: bool,
    dry_run: bool,
    say: Callable[[Published], None],
) -> tuple[Published, ...]:
    """Export states and commit each to its revision; a revision that has the state already is not changed.

    The branch `main` gets the newest version that the repository has, if that is one of the chosen ones. say: called
    after each revision. private: visibility of a repository that is created. force: whether a revision with another
    state is replaced. Raises ConfigError for such a revision without force, TransferError if the Hub refuses, and as
    `export_state`. After an interruption the same call continues. A dry run writes nothing, here or there.
    """
    if not dry_run:
        hub.create(private)
    there = hub.revisions() if not dry_run or hub.exists() else {}
    done = []
    for each in chosen:
        done.append(_publish_one(plan, each, hub, form, there, force, dry_run))
        say(done[-1])
    newest = _newest_version(plan, chosen, there)
    if newest is not None:
        done.append(_as_default(newest, done[chosen.index(newest)], hub, there, force, dry_run))
        say(done[-1])
    return tuple(done)


def _publish_one(
    plan: Plan,
    one: Publication,
    hub: Hub,
    form: ExportFormat,
    there: dict[str, str],
    force: bool,
    dry_run: bool,
) -> Published:
    directory = one.state.directory(plan.layout.path(one.state.path.name))
    size = None
    if not dry_run:
        size = export_state(plan, one.state, directory, form).bytes
    elif (directory / RELEASE_FACTS).is_file():
        size = sum(file.stat().st_size for file in directory.iterdir())
    outcome = _outcome(hub, one.revision, directory, there, force)
    if not dry_run and outcome != "there already":
        hub.ensure_branch(one.branch)
        commit = hub.commit(directory, one.branch, one.message)
        if one.tag is not None:
            hub.tag(one.tag, commit)
    return Published(one.revision, one.state.path.name, one.state.step, directory, size, outcome)


def _as_default(
    newest: Publication, published: Published, hub: Hub, there: dict[str, str], force: bool, dry_run: bool
) -> Published:
    """Give the branch `main` the content of a version; another version there is replaced."""
    known = hub.facts(MAIN, any_files=force) if MAIN in there else None
    outcome = _compared(known, published.directory)
    if not dry_run and outcome != "there already":
        hub.commit(published.directory, MAIN, newest.message)
    return replace(published, revision=MAIN, outcome=outcome)


def _newest_version(plan: Plan, chosen: Sequence[Publication], there: dict[str, str]) -> Publication | None:
    """Return the newest version of the plan that the repository has after the command, if it is a chosen one."""
    versions = {each.branch: each for each in chosen if each.tag is None}
    known = [each.version for each in plan.increments if each.version in there or each.version in versions]
    return versions.get(known[-1]) if known else None


def _outcome(hub: Hub, revision: str, directory: Path, there: dict[str, str], force: bool) -> Outcome:
    """Return what becomes of a revision. Raises ConfigError for one with another state, without force."""
    known = hub.facts(revision, any_files=force) if revision in there else None
    outcome = _compared(known, directory)
    if outcome == "replaced" and not force:
        raise ConfigError(
            f"{hub.repo} has another state or form at {revision} than {directory}; publish under another --repo, or "
            "--force to replace it"
        )
    return outcome


def _compared(known: bytes | None, directory: Path) -> Outcome:
    """Return what becomes of a revision with these facts if it gets the content of a directory."""
    if known is None:
        return "new"
    facts = directory / RELEASE_FACTS
    if not facts.is_file():
        return "compared after its export"
    return "there already" if facts.read_bytes() == known else "replaced"
