"""Pinned versions: constraints.txt covers the requirements of setup.py, by versions that every machine can install."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pins(file: str) -> dict[str, str]:
    """Return canonical package name -> version of a file of pins."""
    lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    wrong = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)]
    assert not wrong, "neither paths, addresses nor builds of one machine"
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def test_every_requirement_is_pinned_within_its_range() -> None:
    pinned = pins("constraints.txt")
    wanted = [Requirement(text) for text in requires("lrps") or ()]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": "dev"})]
    assert len(wanted) > 30
    outside = [str(one) for one in wanted if not one.specifier.contains(pinned[canonicalize_name(one.name)])]
    assert not outside


def test_the_newest_packages_are_checked_with_the_same_torch() -> None:
    assert pins("constraints-newest.txt") == {"torch": pins("constraints.txt")["torch"]}


def test_no_folder_of_ours_is_left_out_of_tests_or_checks(pytestconfig: pytest.Config) -> None:
    """By default pytest and ruff leave out folders that are called build."""
    left_out = [
        folder
        for folder in ROOT.joinpath("tests").rglob("*")
        if folder.is_dir() and any(fnmatch(folder.name, each) for each in pytestconfig.getini("norecursedirs"))
    ]
    assert left_out == []
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert all(each.startswith((".", "/")) for each in ruff["exclude"])
