"""No probe trains on held-out text, whatever its set is called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from lrps.base.errors import DataError
from lrps.config.loader import load_config
from lrps.plan.plan import Plan, make_plan

PROBE = {"p": {"at": "v2", "steps": 6, "data": {"v2": 0.5, "code": 0.5}}}


@pytest.fixture
def root(tiny_config: Path, tmp_path: Path) -> Path:
    """A copy of the shards of the tiny plan."""
    shutil.copytree(tiny_config.parent / "shards", tmp_path / "shards")
    return tmp_path / "shards"


def plan_of(tiny_config: Path, root: Path) -> Plan:
    values = yaml.safe_load(tiny_config.read_text())
    values |= {"runs": str(root.parent / "runs"), "paradigms": {"path-switching": {}}, "probes": PROBE}
    values["data"] |= {"root": str(root), "candidates": [{"name": "code"}]}
    file = root.parent / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return make_plan(load_config(file))


def take(root: Path, source: str, of: str, **changes: object) -> None:
    """Make the training manifest of the candidate set from a manifest of a version."""
    text = (root / source / f"{source}-{of}.manifest.json").read_text()
    if "split" in changes:  # The names of blocks begin with those of the version and of the split.
        text = text.replace(f"{source}-{of}-", f"{changes['version']}-{changes['split']}-")
    values = json.loads(text)
    (root / "code").mkdir()
    (root / "code" / "code-train.manifest.json").write_text(json.dumps({**values, **changes}))


def test_other_training_shards_are_taken(tiny_config: Path, root: Path) -> None:
    take(root, "v3", "train")
    assert plan_of(tiny_config, root).graph.by_name["probe-p"].sources == ("code", "v2")


def test_held_out_shards_are_refused_by_their_split(tiny_config: Path, root: Path) -> None:
    take(root, "v3", "heldout")
    with pytest.raises(DataError, match="probes read code, whose training manifest lists held-out shards"):
        plan_of(tiny_config, root)


def test_held_out_shards_are_refused_by_their_content(tiny_config: Path, root: Path) -> None:
    take(root, "v2", "heldout", split="train", version="code")
    with pytest.raises(DataError, match="lists held-out shards of v2: a model that is trained on the text"):
        plan_of(tiny_config, root)


def test_a_set_that_holds_out_fewer_documents_than_a_version_is_refused(tiny_config: Path, root: Path) -> None:
    provenance = json.loads((root / "v3" / "v3-train.manifest.json").read_text())["provenance"]
    take(root, "v3", "train", provenance={**provenance, "heldout_share": 0.1})
    with pytest.raises(DataError, match=r"code, which was built with heldout_share 0.1, and v1 with 0.2: documents"):
        plan_of(tiny_config, root)


def test_a_set_that_holds_out_more_is_taken(tiny_config: Path, root: Path) -> None:
    provenance = json.loads((root / "v3" / "v3-train.manifest.json").read_text())["provenance"]
    take(root, "v3", "train", provenance={**provenance, "heldout_share": 0.3})
    assert "probe-p" in plan_of(tiny_config, root).graph.by_name
