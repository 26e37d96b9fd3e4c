"""Checks run one by one, light ones first, and none stops another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lrps.config.models import Config
from lrps.doctor.examination import Check, Subject, examine
from lrps.doctor.finding import Finding
from lrps.plan.plan import make_plan


def good(_subject: Subject) -> Iterator[Finding]:
    yield Finding("a", "good", "ok", "fine")


def broken(_subject: Subject) -> Iterator[Finding]:
    yield Finding("b", "first", "ok", "fine")
    raise ZeroDivisionError("no such luck")


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on() -> None:
    found = list(examine((Check("b", "luck", broken), Check("a", "good", good)), Subject()))
    assert [(each.name, each.state) for each in found] == [("first", "ok"), ("luck", "fail"), ("good", "ok")]
    assert "ZeroDivisionError: no such luck" in found[1].what
    assert found[1].area == "b"


def test_slow_checks_come_last_and_are_announced() -> None:
    started: list[str] = []
    checks = (Check("s", "slow", good, slow=True), Check("l", "light", good))
    findings = examine(checks, Subject(), lambda check: started.append(check.title))
    next(findings)
    assert started == ["light"]
    list(findings)
    assert started == ["light", "slow"]


def test_ctrl_c_is_not_a_finding() -> None:
    def interrupted(_subject: Subject) -> Iterator[Finding]:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        list(examine((Check("a", "b", interrupted),), Subject()))


def test_the_directory_is_the_nearest_that_is_there(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(make_config(runs=str(tmp_path / "far" / "away")))
    assert Subject(plan).directory == tmp_path
    (tmp_path / "far" / "away" / "small").mkdir(parents=True)
    assert Subject(plan).directory == tmp_path / "far" / "away" / "small"
    monkeypatch.chdir(tmp_path)
    assert Subject().directory == tmp_path
