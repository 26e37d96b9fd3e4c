"""What a comparison says, in sentences: the headline, what is still to do, and what is not claimed.

The terminal, the page and the Markdown file say the same. Every number comes from the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.base.numbers import amount, count, loss, ratio

ONE_RUN = "Losses are those of this run: one seed, one order of the data. Small differences may not repeat."


def headline(document: Mapping[str, Any]) -> str:
    """What the main paradigm costs against PTFS, planned, and what was measured of it, in two or three sentences."""
    name = focus(document)
    paradigm, versions = document["paradigms"][name], len(document["versions"])
    planned = (
        f"{versions} version{'s' if versions > 1 else ''}: {name} takes "
        f"{count(paradigm['total_steps'])} steps, {ratio(paradigm['ratio_to_ptfs'])} of those of training every "
        f"version from scratch (PTFS) and {ratio(paradigm['ratio_to_cpt'])} of those of continual pre-training (CPT)."
    )
    return f"{planned} {_measured(name, paradigm)}{_losses(document)}"


def focus(document: Mapping[str, Any]) -> str:
    """The paradigm that the headline is about: the first path switching, or else the first of the config."""
    kinds = {name: paradigm["kind"] for name, paradigm in document["paradigms"].items()}
    return next((name for name, kind in kinds.items() if kind == "path-switching"), next(iter(kinds)))


def _measured(name: str, paradigm: Mapping[str, Any]) -> str:
    measured = paradigm["measured"]
    if measured is None:
        return f"Nothing of {name} was measured yet."
    hours = f"{amount(measured['device_hours'])} device-hours held on {measured['device']}"
    training = f"{amount(measured['training_hours'])} of them in optimizer steps"
    if not paradigm["complete"]:
        done = f"{count(measured['total_steps'])} of {count(paradigm['total_steps'])} steps"
        return f"Measured so far: {done}, {hours}, {training}."
    held, trained = (_of_ptfs(paradigm[key]) for key in ("measured_held_ratio_to_ptfs", "measured_ratio_to_ptfs"))
    return f"Measured: {hours}{held}, {training}{trained}."


def _of_ptfs(share: float | None) -> str:
    return "" if share is None else f" ({ratio(share)} of PTFS's)"


def _losses(document: Mapping[str, Any]) -> str:
    """The newest version's mean held-out loss, of every paradigm that has one."""
    newest = {name: paradigm["releases"][-1]["seen_loss"] for name, paradigm in document["paradigms"].items()}
    known = [f"{name} {loss(value)}" for name, value in newest.items() if value is not None]
    version = document["versions"][-1]["name"]
    return f" Held-out loss of {version}, mean over all versions: {', '.join(known)}." if known else ""


def mixing(document: Mapping[str, Any]) -> list[str]:
    """What the config says of the rows of branches and CPT paths, a sentence for each paradigm that does not read the
    new rows alone, in the source's order."""
    sentences = []
    for name, paradigm in document["paradigms"].items():
        mixes: dict[str, list[str]] = {}
        for version, mix in (paradigm["mix"] or {}).items():
            mixes.setdefault(_shares(mix), []).append(version)
        branches = f"{'branches' if paradigm['kind'] == 'path-switching' else 'paths'} of {name}"
        if len(mixes) > 1:
            told = "; ".join(f"{shares} ({', '.join(versions)})" for shares, versions in mixes.items())
            sentences.append(f"Rows of the {branches}: {told}.")
        elif mixes and _NEW_ALONE not in mixes:
            sentences.append(f"Rows of the {branches}: {next(iter(mixes))}.")
        if paradigm["branch_data"] == "whole":
            sentences.append(f"The {branches} draw their new rows from the whole of the version's data.")
    return sentences


_NEW_ALONE = "100% new"


def _shares(mix: Mapping[str, float]) -> str:
    return ", ".join(f"{100 * share:.4g}% {kind}" for kind, share in mix.items() if share)


def still_to_do(document: Mapping[str, Any]) -> str:
    """One line: what is missing, and the command that makes it."""
    unbuilt = [version["name"] for version in document["versions"] if version["manifest_sha256"] is None]
    states = {path["name"]: path["state"] for p in document["paradigms"].values() for path in p["paths"]}
    missing = [name for name, state in states.items() if state != "complete"]
    if not missing:
        return "Everything is trained and evaluated."
    build = f"shards of {', '.join(unbuilt)} (`lrps data build CONFIG`), then " if unbuilt else ""
    steps = document["to_do"]["total_steps"]
    work = f"{count(steps)} steps" if steps else "evaluations"
    return f"Still to do: {build}{work} of {len(missing)} path{'s' if len(missing) > 1 else ''} (`lrps run CONFIG`)."
