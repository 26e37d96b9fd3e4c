"""The losses that the demo is expected to have: whether a run has them, and where it does not, why that may be.

expected.md beside this file has the table, as the README has it. A table is found by the comment before it, which names
the corpus that it is for, and what it was measured with: <!-- expected: sotu; torch 2.13.0; AVX512 -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.base.foreign_json import read_json

TABLE = Path(__file__).with_name("expected.md")
"""File with the expected losses."""
TOLERANCE = 0.002
"""Largest difference of a loss, nats a token, that other processors and threads were seen to make."""
MARK = re.compile(
    r"<!-- expected: (?P<corpus>\S+); torch (?P<torch>\S+); (?P<instructions>\S+) -->\n\n?(?P<rows>(\|.*\n)+)"
)

Cell = tuple[str, str]
"""Paradigm and version."""


class ExpectationError(DataError):
    """A run that cannot be compared: what is missing, and how to get it."""


@dataclass(frozen=True)
class Outcome:
    """Losses by paradigm and version, and what they were measured with."""

    losses: Mapping[Cell, float]
    """Mean loss on the held-out sets of all versions so far, nats a token."""
    corpus: str
    """Name of the archive that the text comes from."""
    torch: str
    instructions: str
    """Instruction set of the processor, as torch names it."""


def expected_outcome(page: str, corpus: str) -> Outcome:
    """Return the table for a corpus from the text of a page; ExpectationError if it has none."""
    for found in MARK.finditer(page):
        if found["corpus"] == corpus:
            header, _, *rows = (
                [cell.strip() for cell in line.strip("|\n ").split("|")] for line in lines(found["rows"])
            )
            versions = [(place, name) for place, name in enumerate(header) if re.fullmatch(r"v\d+", name)]
            losses = {(row[0], name): float(row[place]) for row in rows for place, name in versions}
            return Outcome(losses, corpus, found["torch"], found["instructions"])
    raise ExpectationError(f"the page has no table of expected losses for the corpus {corpus!r}")


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def measured_outcome(comparison: Mapping[str, Any], corpus: str) -> Outcome:
    """Return what a run came to, from its comparison.json; versions that are not evaluated yet are left out."""
    losses = {
        (name, release["version"]): release["seen_loss"]
        for name, paradigm in comparison["paradigms"].items()
        for release in paradigm["releases"]
        if release["seen_loss"] is not None
    }
    made = comparison["provenance"]
    torch = ", ".join(made["software"].get("torch", ["unknown"]))
    instructions = ", ".join(dict.fromkeys(each["instructions"] for each in made.get("processors", ()))) or "unknown"
    return Outcome(losses, corpus, torch.partition("+")[0], instructions)


def verdict(expected: Outcome, measured: Outcome) -> tuple[bool, list[str]]:
    """Return whether every expected loss was met within TOLERANCE, and the lines that say so or name what was not."""
    missing = [cell for cell in expected.losses if cell not in measured.losses]
    off = {
        cell: measured.losses[cell] - loss
        for cell, loss in expected.losses.items()
        if cell in measured.losses and not abs(measured.losses[cell] - loss) <= TOLERANCE
    }
    number = len(expected.losses)
    met = number - len(missing) - len(off)
    words = "as expected" if met == number else "NOT as expected"
    said = [f"{words}: {met} of {number} losses within {TOLERANCE} nats of the README's table"]
    for (paradigm, version), difference in off.items():
        loss = expected.losses[paradigm, version]
        said.append(f"  {paradigm} {version}: {loss + difference:.4f}, expected {loss:.4f} ({difference:+.4f})")
    said += [f"  {paradigm} {version}: not evaluated" for paradigm, version in missing]
    if off:
        said.append(f"  why that may be: {likely_cause(expected, measured)}")
    return met == number, said


def likely_cause(expected: Outcome, measured: Outcome) -> str:
    """Return what differs between two outcomes besides their losses."""
    pairs = (
        ("torch", expected.torch, measured.torch),
        ("instruction set", expected.instructions, measured.instructions),
    )
    differing = [f"{what} is {here}, the table was made with {there}" for what, there, here in pairs if here != there]
    return "; ".join(differing) or "torch and the instruction set are the table's; was the config or the code changed?"


def table(comparison: Mapping[str, Any], outcome: Outcome) -> str:
    """Return the marked Markdown table of a run, for the README."""
    versions = [version["name"] for version in comparison["versions"]]
    steps = [
        f"| paradigm | steps | steps, % of PTFS | {' | '.join(versions)} |",
        f"|---|{'--:|' * (2 + len(versions))}",
    ]
    for name, paradigm in comparison["paradigms"].items():
        losses = " | ".join(f"{outcome.losses[name, version]:.4f}" for version in versions)
        steps.append(f"| {name} | {paradigm['total_steps']:,} | {paradigm['ratio_to_ptfs']:.0%} | {losses} |")
    mark = f"<!-- expected: {outcome.corpus}; torch {outcome.torch}; {outcome.instructions} -->"
    return "\n".join([mark, "", *steps])


def measured_run(run: Path, corpus: Path) -> tuple[Mapping[str, Any], Outcome]:
    """Return the comparison of a run and what it came to. corpus: folder of its text."""
    made = _read_json(corpus / "corpus.json", "make the text with tools/corpus.py")
    comparison = _read_json(run / "report" / "comparison.json", "make it with `lrps report CONFIG`")
    return comparison, measured_outcome(comparison, made["archive"])


def _read_json(path: Path, how: str) -> Any:
    try:
        return read_json(path)
    except OSError as error:
        raise ExpectationError(f"{path} cannot be read ({error.strerror}): {how}") from None
