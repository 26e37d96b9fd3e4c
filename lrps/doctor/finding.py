"""A finding: one thing that was checked, its state, and how to fix it. Imports no other module of lrps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

FindingState = Literal["ok", "warn", "fail"]
"""State of a finding: a run works in spite of `warn`; `fail` ends it or makes it useless."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    area: str
    name: str
    state: FindingState
    what: str
    """Description of what was found, with its number and unit."""
    way_out: str = ""
    """How to fix it; empty only if the state is ok. (The JSON of `lrps doctor --json` has this name.)"""

    def __post_init__(self) -> None:
        if self.state != "ok" and not self.way_out:
            raise ValueError(f"{self.area}.{self.name}: a finding that is not ok must say how to fix it")


def is_sound(findings: Iterable[Finding]) -> bool:
    """Return whether no finding fails."""
    return all(finding.state != "fail" for finding in findings)


def findings_document(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return the findings as JSON values, with whether all of them are sound."""
    listed = list(findings)
    return {"ok": is_sound(listed), "findings": [asdict(finding) for finding in listed]}
