"""Laws of plans with mixtures and epochs: what later versions and other paradigms may not change, and sizes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError, DataError
from lrps.config.models import Config
from lrps.costs.planned.plan_document import plan_document, write_plan_json
from lrps.costs.recorded_plan import recorded_plan
from lrps.data.manifest import Blocks, manifest_path, save_manifest
from lrps.data.stream import PathData
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan, make_plan
from lrps.report.plan_text import plan_tables
from support.synthetic_run import BATCH, LENGTH, few, manifest, plan_of, source_of
from support.values import config_values

Row = tuple[str, int, int]
MIX = {"new": 0.5, "replay": 0.25, "rehearsal": 0.25}
EVERY: dict[str, Any] = {
    "path-switching": {"mix": MIX, "main_mix": {"new": 0.75, "replay": 0.25}, "branch_data": "whole"},
    "ptfs": {},
    "cpt": {"mix": MIX},
    "wsd-s": {"final_lr": 0.1},
}


def rows_of(plan: Plan, path: TrainingPath) -> list[list[Row]]:
    """Return the rows (set of shards, epoch, row) of every step of a path."""
    data = PathData(path.segments, {name: source_of(plan, name) for name in path.sources}, BATCH)
    return [data.rows_of(step) for step in range(path.steps)]


@given(
    steps=st.lists(st.integers(8, 14), min_size=2, max_size=3),
    kinds=st.lists(st.sampled_from(sorted(EVERY)), min_size=2, max_size=4, unique=True),
    epochs=st.sampled_from(["1", "1.5", "2", "3.25"]),
    mixed=st.booleans(),
)
@settings(few, max_examples=12)
def test_later_versions_and_other_paradigms_move_no_row_and_no_lineage_reads_a_row_twice(
    steps: list[int], kinds: list[str], epochs: str, mixed: bool
) -> None:
    more = plan_of(Path("nowhere"), steps, {kind: EVERY[kind] for kind in kinds}, 1, Fraction(epochs), mixed)
    fewer = plan_of(Path("nowhere"), steps[:-1], {kinds[0]: EVERY[kinds[0]]}, 1, Fraction(epochs), mixed)
    rows = {path.name: rows_of(more, path) for path in more.graph.paths}
    for path in fewer.graph.paths:
        # A mixed main path ends a segment at every fork, so that it is the same path only up to its end before.
        assert rows_of(fewer, path) == rows[path.name][: path.steps]
    for path in more.graph.paths:
        lineage = more.graph.lineage(path)
        stops = [*(child.start for child in lineage[1:]), path.stop]
        read = [
            row
            for part, stop in zip(lineage, stops, strict=True)
            for step in rows[part.name][: stop - part.start]
            for row in step
        ]
        assert max(Counter(read).values()) == 1, "every (epoch, row) at most once"
        assert len(read) == path.stop * BATCH


@pytest.mark.parametrize("epochs", ["1", "1.5", "2"])
@pytest.mark.parametrize("mixed", [False, True], ids=["plain", "mixed"])
def test_rows_beyond_the_first_epoch_of_a_part_are_replayed(epochs: str, mixed: bool) -> None:
    plan = plan_of(Path("nowhere"), [12, 14], {"ptfs": {}}, 1, Fraction(epochs), mixed)
    path = plan.graph.by_name["ptfs-v2"]
    mix = plan_document(plan).paradigms["ptfs"].paths[1].mix_tokens
    read = [row for step in rows_of(plan, path) for row in step]
    assert mix.new == sum(epoch == 0 for _, epoch, _ in read) * LENGTH
    assert mix.replay == sum(epoch > 0 for _, epoch, _ in read) * LENGTH
    assert mix.new + mix.replay == path.steps * BATCH * LENGTH


def mixed_config(root: Path, **changes: Any) -> Config:
    parts = {"web": {"weight": 3}, "code": {"weight": 1, "epochs": 2}}
    data = {
        "root": str(root),
        "sequence_length": LENGTH,
        "versions": [{"name": "v1", "mixture": parts, **changes}],
    }
    return Config.model_validate(config_values(runs=str(root / "runs"), data=data, paradigms={"ptfs": {}}))


def shards(root: Path, split: str = "train", **rows: int) -> None:
    for part, number in rows.items():
        file = manifest_path(root, f"v1.{part}", split)
        file.parent.mkdir(exist_ok=True)
        save_manifest(manifest(f"v1.{part}", number), file)


def test_the_largest_mixture_is_taken_without_tokens(tmp_path: Path) -> None:
    shards(tmp_path, web=900, code=40)
    plan = make_plan(mixed_config(tmp_path))
    (increment,) = plan.increments
    assert (increment.rows, increment.steps) == (320, 160), "80 of code, which may be read twice, are a quarter"
    parts = {part.name: part for part in plan_document(plan).versions[0].parts}
    assert [parts[name].rows for name in ("v1.web", "v1.code")] == [240, 80]
    assert [parts[name].epochs for name in ("v1.web", "v1.code")] == [pytest.approx(240 / 900), 2.0]
    assert parts["v1.web"].manifest_sha256 == plan.manifests["v1.web"].sha256
    assert make_plan(mixed_config(tmp_path, epochs=2)).increments[0].steps == 320, "twice the mixture"
    assert make_plan(mixed_config(tmp_path, tokens=800)).increments[0].rows == 100
    with pytest.raises(DataError, match=r"part v1.code would be read more than 2 times: .*`epochs: 2.5`"):
        make_plan(mixed_config(tmp_path, tokens=400 * LENGTH))


def test_before_the_shards_exist_tokens_suffice(tmp_path: Path) -> None:
    plan = make_plan(mixed_config(tmp_path, tokens="8K"))
    assert [(share.name, share.count) for share in plan.mixtures["v1"]] == [("v1.code", 250), ("v1.web", 750)]
    assert plan.identity(plan.graph.paths[0])["sources"] == {}
    with pytest.raises(ConfigError, match=r"version v1: no shards in .*, so its size is unknown; say how many"):
        make_plan(mixed_config(tmp_path))
    shards(tmp_path, web=900)
    assert make_plan(mixed_config(tmp_path, tokens="8K")).sources == {}, "one part is not the version"


def test_the_order_of_the_parts_in_the_config_does_not_matter(tmp_path: Path) -> None:
    shards(tmp_path, web=900, code=40)
    config = mixed_config(tmp_path)
    (version,) = config.data.versions
    assert version.mixture is not None
    turned = version.model_copy(update={"mixture": dict(reversed(version.mixture.items()))})
    other = config.model_copy(update={"data": config.data.model_copy(update={"versions": (turned,)})})
    plans = [make_plan(config), make_plan(other)]
    assert plans[0].identity(plans[0].graph.paths[0]) == plans[1].identity(plans[1].graph.paths[0])


def test_the_identity_says_what_is_mixed(tmp_path: Path) -> None:
    shards(tmp_path, web=900, code=40)
    plan = make_plan(mixed_config(tmp_path))
    source = plan.identity(plan.graph.paths[0])["sources"]["v1"]
    assert source["rows"] == 320
    sha256 = plan.manifests["v1.code"].sha256
    assert source["parts"][0] == {"name": "v1.code", "manifest_sha256": sha256, "rows": 40, "count": 80}
    shards(tmp_path, web=901)
    changed = make_plan(mixed_config(tmp_path))
    assert changed.sources["v1"].sha256 != plan.sources["v1"].sha256


def test_the_held_out_set_is_a_mixture_without_repetition(tmp_path: Path) -> None:
    shards(tmp_path, web=900, code=40)
    assert make_plan(mixed_config(tmp_path)).heldout == {}
    shards(tmp_path, "heldout", web=30, code=4)
    plan = make_plan(mixed_config(tmp_path))
    assert {part.name: part.count for part in plan.heldout["v1"].parts} == {"v1.web": 12, "v1.code": 4}
    assert plan.heldout_rows("v1") == 16
    empty = replace(manifest("v1.code", 1), tokens=0, shards=(), blocks=Blocks("v1.code", "train"))
    save_manifest(empty, manifest_path(tmp_path, "v1.code", "heldout"))
    assert make_plan(mixed_config(tmp_path)).heldout == {}, "a part without a row: nothing can be mixed"


def test_a_recorded_plan_knows_its_mixtures_and_epochs(tmp_path: Path) -> None:
    shards(tmp_path, web=900, code=40)
    plan = make_plan(mixed_config(tmp_path, epochs=1.5))
    write_plan_json(plan)
    recorded = recorded_plan(plan.layout.run_dir)
    assert recorded.increments == plan.increments
    paths = [plan_document(each).paradigms["ptfs"].paths for each in (plan, recorded)]
    assert [path.mix_tokens for path in paths[0]] == [path.mix_tokens for path in paths[1]]
    assert paths[0][0].mix_tokens.replay > 0


def test_the_plan_shows_the_parts(tmp_path: Path) -> None:
    shards(tmp_path, web=900, code=40)
    document = plan_document(make_plan(mixed_config(tmp_path, epochs=1.5)))
    tables = {table.title: table for table in plan_tables(document)}
    assert tables["parts of the mixtures"].texts == (
        ("v1", "code", "25.0%", "80", "640", "40", "2"),
        ("v1", "web", "75.0%", "240", "1.92K", "900", "0.267"),
    )
    assert tables["small: data versions"].texts == (("v1", "320", "1.5", "240", "3.84K", "0"),)
    assert "parts of the mixtures" not in [
        table.title for table in plan_tables(plan_document(plan_of(tmp_path, [10], {"ptfs": {}})))
    ]
