"""A mixed version and one with epochs, from text over training to the audit and the report."""

from __future__ import annotations

from collections import Counter

import pytest

from lrps.audit.run import audit_run
from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.costs.comparison import make_comparison
from lrps.costs.planned.plan_document import plan_document
from lrps.costs.readers_document import readers_document
from lrps.data.build.build import build_data
from lrps.data.manifest import load_manifest, manifest_path
from lrps.data.stream import PathData
from lrps.data.verify import verify_data
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.report.comparison_text import comparison_markdown
from lrps.report.page import render_page
from lrps.train.job import open_sources
from support.mixed_versions import mixed_values
from support.plain_engine import run


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A trained plan."""
    changes = {"launch": {"processes": 1}, "checkpoint": {}}
    config = Config.model_validate(mixed_values(tmp_path_factory.mktemp("mixed"), **changes))
    build_data(config, processes=1)
    made = make_plan(config)
    assert run(made, *(path.name for path in made.graph.paths), stop_after=None)
    return made


def rows_read(plan: Plan, name: str) -> list[tuple[str, int, int]]:
    """Return (set of shards, epoch, row) of every row that a path was trained on."""
    path = plan.graph.by_name[name]
    data = PathData(path.segments, open_sources(plan, path), plan.config.batch.sequences)
    return [row for step in range(data.steps) for row in data.rows_of(step)]


def test_parts_are_built_and_verified_like_versions(plan: Plan) -> None:
    root = plan.config.data.root
    assert {path.name for path in root.iterdir() if path.is_dir()} == {"v1.web", "v1.code", "v2"}
    assert load_manifest(manifest_path(root, "v1.web", "train")).version == "v1.web"
    assert len(verify_data(plan.config, quiet=True)) == 6
    shards = sorted(path.name for path in (root / "v1.code").glob("*.tar"))
    assert shards == ["v1.code-heldout-000000.tar", "v1.code-train-000000.tar"]


def test_another_order_seed_is_another_order_of_as_many_rows(plan: Plan) -> None:
    data = plan.config.data.model_copy(update={"order_seed": plan.config.seed + 1})
    other = make_plan(plan.config.model_copy(update={"data": data}))
    same = make_plan(plan.config.model_copy(update={"data": data.model_copy(update={"order_seed": plan.config.seed})}))
    rows = rows_read(plan, "ptfs-v2")
    assert rows_read(same, "ptfs-v2") == rows
    assert rows_read(other, "ptfs-v2") != rows
    of_source = [Counter(name for name, _, _ in read) for read in (rows_read(other, "ptfs-v2"), rows)]
    assert of_source[0] == of_source[1]


def test_plan_and_readers_know_the_mixture_by_its_own_identity(plan: Plan) -> None:
    versions = {version.name: version for version in plan_document(plan, {}).versions}
    assert versions["v1"].heldout_rows == plan.heldout_rows("v1") > 0
    readers = readers_document(plan, "v1")
    assert readers.manifest_sha256 == plan.sources["v1"].sha256 == versions["v1"].manifest_sha256
    assert [each.path for each in readers.releases if each.version == "v2"] == ["branch-v2", "ptfs-v2"]
    with pytest.raises(ConfigError, match="did you mean v1"):
        readers_document(plan, "v1.web")


def test_every_version_is_read_as_the_config_says(plan: Plan) -> None:
    assert [(i.version, i.rows, i.steps) for i in plan.increments] == [("v1", 100, 25), ("v2", 40, 15)]
    read = rows_read(plan, "ptfs-v2")
    assert Counter(name for name, _, _ in read) == {"v1.web": 75, "v1.code": 25, "v2": 60}
    assert max(Counter(read).values()) == 1
    code = plan.manifests["v1.code"].rows(16)
    assert sum(epoch == 0 for name, epoch, _ in read if name == "v1.code") == code < 25
    assert sum(epoch == 0 for name, epoch, _ in read if name == "v2") == 40


def test_a_branch_continues_every_part_where_the_main_path_stopped(plan: Plan) -> None:
    branch = plan.graph.by_name["branch-v1"]
    main = rows_read(plan, "main")[: branch.start * 4]
    assert main + rows_read(plan, "branch-v1") == rows_read(plan, "main")[: branch.start * 4 + branch.steps * 4]


def test_the_audit_adds_up_part_by_part(plan: Plan) -> None:
    audit = audit_run(plan.layout.run_dir, plan.config.data.root)
    assert audit.ok, audit.differences
    (lineage,) = (lineage for lineage in audit.lineages if lineage.path == "ptfs-v2")
    used = Counter[str]()
    for use in lineage.uses:
        used[use.source] += use.rows
    assert used == {"v1.web": 75, "v1.code": 25, "v2": 60}


def test_the_ledger_has_the_parts_and_the_replayed_tokens(plan: Plan) -> None:
    records = list(read_ledger(plan.layout.path("ptfs-v2").ledger))
    parts = records[0].facts["mixtures"]["v1"]
    code = plan.manifests["v1.code"]
    assert parts[0] == {"name": "v1.code", "manifest_sha256": code.sha256, "rows": code.rows(16), "count": 25}
    assert records[-1].counters.replayed_tokens == (20 + 25 - code.rows(16)) * 16
    evaluated = [record.facts for record in records if record.kind == "evaluation"]
    found = {facts["heldout"]: facts for facts in evaluated}
    assert set(found["v1"]["parts"]) == {"v1.web", "v1.code"}
    assert sum(part["rows"] for part in found["v1"]["parts"].values()) == found["v1"]["rows"]
    assert "parts" not in found["v2"]


def test_the_report_shows_the_parts(plan: Plan) -> None:
    comparison = make_comparison(plan)
    markdown = comparison_markdown(comparison)
    assert "## Parts of the mixtures" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| v1 | ")]
    assert any("| web | 75.0% | 75 |" in row for row in rows), rows
    page = render_page(comparison)
    assert "Parts of the mixtures" in page
    assert '<td class="text">web</td>' in page
