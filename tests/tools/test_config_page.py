from __future__ import annotations

import re
from pathlib import Path

from support.values import load_tool

config_page = load_tool("config_page")


def test_no_key_is_without_a_description() -> None:
    assert config_page.undescribed() == []


def test_the_committed_page_is_that_of_the_code(repository: Path) -> None:
    """Regenerate with `make schema`."""
    assert (repository / "docs/config.md").read_text(encoding="utf-8") == config_page.page()


def test_every_key_is_in_a_table_and_every_section_has_its_heading() -> None:
    page = config_page.page()
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert {"name", "peak_lr", "alpha", "zero_stage", "directives", "betas", "release_first", "horizon"} <= set(rows)
    anchors = {config_page._anchor(heading) for heading in re.findall(r"^## `(.+)`$", page, re.MULTILINE)}
    linked = set(re.findall(r"\[section\]\(#(.+?)\)", page))
    assert linked <= anchors
    assert {"launchslurm", "dataversions", "paradigmsname-kind-cpt"} <= anchors


def test_types_units_and_defaults_as_people_read_them() -> None:
    row = {line.split("`")[1]: line for line in config_page.page().splitlines() if line.startswith("| `")}
    assert row["warmup_steps"].startswith(
        "| `warmup_steps` | whole number, steps | `0` | Number of steps of the linear"
    )
    assert row["grace_seconds"].startswith("| `grace_seconds` | number, seconds | `300.0` |")
    assert row["precision"].startswith('| `precision` | `fp32`, `bf16` | `"fp32"` |')
    assert row["launch"].startswith("| `launch` | [section](#launch) | as there |")
    assert row["guard"].startswith("| `guard` | [section](#guard) | none |")
    assert "<runs>" not in row["name"]
    assert row["batch"].startswith("| `batch` | [section](#batch) |  |")
