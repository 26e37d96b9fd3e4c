"""The files of a report: what is written, what is refused, and that a rerun writes the same bytes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lrps.base.document import to_json
from lrps.base.errors import ConfigError
from lrps.costs.comparison import Comparison, make_comparison
from lrps.report.files import write_report
from lrps.report.tags import RATIOS, START_UP

ALL = ("html", "md", "csv", "tex", "json")


@pytest.fixture(scope="module")
def comparison(trained: Any) -> Comparison:
    return make_comparison(trained)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_all_formats_and_the_same_bytes_again(trained: Any, comparison: Comparison) -> None:
    files = write_report(trained, comparison, ALL)
    directory = trained.layout.report_dir
    csv_tables = ["comparison.csv", "versions.csv", "forgetting.csv", "matrix.csv"]
    tables = ["comparison.md", *csv_tables, "comparison.tex", "versions.tex", "forgetting.tex"]
    names = ["index.html", *tables, "comparison.json"]
    assert files == [directory / name for name in names]
    first = contents(directory)
    assert set(names) < set(first)
    assert not [name for name in first if name.endswith(".tmp")]
    write_report(trained, make_comparison(trained), ALL)
    assert contents(directory) == first


def test_figures_are_files_of_their_own(trained: Any, comparison: Comparison) -> None:
    write_report(trained, comparison, ["html"])
    figures = sorted((trained.layout.report_dir / "figures").glob("*.svg"))
    assert len(figures) == 3 + 1 + 2 + 2 + 2 + 2 + 3 + 3 + 1
    for file in figures:
        root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.find("{http://www.w3.org/2000/svg}style") is not None


def test_only_what_was_asked_for(make: Any) -> None:
    plan = make()
    files = write_report(plan, make_comparison(plan), [" csv "])
    names = ["comparison.csv", "versions.csv", "forgetting.csv", "matrix.csv"]
    assert [file.name for file in files] == names
    assert {file.name for file in plan.layout.report_dir.iterdir()} == set(names)


def test_another_directory_leaves_the_run_alone(make: Any, tmp_path: Path) -> None:
    plan = make()
    files = write_report(plan, make_comparison(plan), ["html", "json"], tmp_path / "new" / "place")
    assert files == [tmp_path / "new" / "place" / name for name in ("index.html", "comparison.json")]
    assert (tmp_path / "new" / "place" / "figures" / "lineage.svg").exists()
    assert not plan.layout.run_dir.exists()


def test_an_unknown_format_is_refused_before_anything_is_written(make: Any) -> None:
    plan = make()
    with pytest.raises(ConfigError, match="unknown format 'pdf'; known are html, md, csv, tex, json"):
        write_report(plan, make_comparison(plan), ["html", "pdf"])
    assert not plan.layout.report_dir.exists()


def test_a_directory_that_cannot_be_written_is_explained(make: Any) -> None:
    plan = make()
    plan.layout.run_dir.mkdir(parents=True)
    plan.layout.report_dir.write_text("in the way")
    with pytest.raises(ConfigError, match="cannot write the report"):
        write_report(plan, make_comparison(plan), ["json"])


def test_json_is_what_the_verb_prints(trained: Any, comparison: Comparison) -> None:
    (file,) = write_report(trained, comparison, ["json"])
    assert file.read_text() == json.dumps(to_json(comparison), indent=1) + "\n"


def test_csv_has_units_and_full_precision(trained: Any, comparison: Comparison) -> None:
    file, *_ = write_report(trained, comparison, ["csv"])
    rows = {row["paradigm"]: row for row in csv.DictReader(io.StringIO(file.read_text()))}
    assert list(rows) == ["path-switching", "ptfs", "cpt"]
    row = rows["path-switching"]
    assert (row["planned_steps"], row["planned_share_of_ptfs"], row["planned_device_hours"]) == ("2900", "0.58", "n/a")
    assert float(row["measured_device_hours"]) == pytest.approx((2900 * 0.036 + 60) / 3600)
    assert float(row["measured_money_eur"]) == pytest.approx(2 * (2900 * 0.036 + 60) / 3600)
    assert rows["cpt"]["measured_repeated_steps"] == "150"
    assert float(row["measured_training_share_of_ptfs"]) == pytest.approx(0.58)
    assert float(row["measured_held_share_of_ptfs"]) == pytest.approx((2900 * 0.036 + 60) / (5000 * 0.036 + 48))


def test_nothing_is_measured_before_training(make: Any) -> None:
    plan = make()
    file, *_ = write_report(plan, make_comparison(plan), ["csv"])
    for row in csv.DictReader(io.StringIO(file.read_text())):
        assert {value for key, value in row.items() if key.startswith(("measured", "seen"))} == {"n/a"}
        assert not [key for key in row if "money" in key]


def test_markdown_and_latex_are_tables(trained: Any, comparison: Comparison) -> None:
    markdown, *latex = (file.read_text() for file in write_report(trained, comparison, ["md", "tex"]))
    blocks = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("|")]
    assert [len(block) for block in blocks] == [2 + 3, 2 + 3 * 4, 2 + 3 * 3], "totals, what versions cost, and keep"
    assert all(len({line.count("|") for line in block}) == 1 for block in blocks)
    assert "| path-switching | 2,900 |" in blocks[0][2]
    tables = [[line for line in text.splitlines() if line.endswith(r"\\")] for text in latex]
    assert [len(rows) for rows in tables] == [1 + 3, 1 + 3 * 4, 1 + 3 * 3]
    assert all(len({row.count("&") for row in rows}) == 1 for rows in tables)
    assert r"58.0\%" in tables[0][1]
    assert r"training device-hours, \% of PTFS & allocated device-hours, \% of PTFS" in tables[0][0]
    assert all(text.count(START_UP) == 1 for text in latex[:2])
    assert RATIOS in markdown


def test_the_report_needs_no_torch() -> None:
    code = (
        "import sys, lrps.report.files, lrps.report.comparison_text, lrps.costs.comparison\n"
        "print(*sorted({'torch', 'deepspeed', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
