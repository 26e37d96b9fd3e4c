"""The list of checks."""

from __future__ import annotations

import inspect
from pathlib import Path

from lrps.doctor import catalogue
from lrps.doctor.catalogue import CHECKS


def test_every_check_that_is_written_is_made() -> None:
    files = Path(inspect.getfile(catalogue)).parent.glob("*.py")
    written = {
        line.split("(")[0].removeprefix("def ")
        for file in files
        for line in file.read_text().splitlines()
        if line.startswith("def check_")
    }
    made = [check.findings.__name__ for check in CHECKS]
    assert {*made} == written
    assert len({*made}) == len(made), "a check is made twice"


def test_light_checks_import_no_torch() -> None:
    light = [check for check in CHECKS if not check.slow]
    assert len(light) >= 8
    assert all("import torch" not in inspect.getsource(check.findings) for check in light)


def test_titles_differ() -> None:
    titles = [check.title for check in CHECKS]
    assert len({*titles}) == len(titles)
