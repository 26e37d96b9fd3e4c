"""A finding: one thing that was looked at, how it stands, and the way out. Imports nothing of lrps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """`warn` can be lived with, `fail` ends a run or spoils it."""

    area: str
    name: str
    state: State
    what: str
    """What was found, with its number and unit."""
    way_out: str = ""
    """What to do; never empty unless the state is ok."""

    def __post_init__(self) -> None:
        if self.state != "ok" and not self.way_out:
            raise ValueError(f"{self.area}.{self.name}: a finding that is not ok needs a way out")


def is_sound(findings: Iterable[Finding]) -> bool:
    """True if nothing fails."""
    return all(finding.state != "fail" for finding in findings)


def findings_document(findings: Iterable[Finding]) -> dict[str, Any]:
    """As JSON values."""
    listed = list(findings)
    return {"ok": is_sound(listed), "findings": [asdict(finding) for finding in listed]}
