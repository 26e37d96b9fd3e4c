"""Whether a directory belongs to a plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import LineageError
from lrps.config.models import Config
from lrps.paths.amendments import Amendment
from lrps.paths.graph import TrainingPath
from lrps.paths.increments import Increment
from lrps.paths.paradigms.compile import compile_graph
from lrps.store.conventions import NEWEST
from lrps.store.identity import check_identity, path_from_json, path_identity

MakeConfig = Callable[..., Config]


def paths(config: Config, versions: int) -> dict[str, TrainingPath]:
    increments = [Increment(f"v{k}", 200, 100) for k in range(1, versions + 1)]
    return compile_graph(config, increments).by_name


def sources(**changes: Any) -> dict[str, Any]:
    return {f"v{k}": {"manifest_sha256": f"m{k}", "rows": 200} for k in range(1, 5)} | changes


@pytest.fixture
def written(tmp_path: Path, make_config: MakeConfig) -> Path:
    """path.json of the main path of a plan of three versions."""
    file = tmp_path / "path.json"
    config = make_config()
    file.write_text(json.dumps(path_identity(paths(config, 3)["main"], config, "tok", sources(), NEWEST)))
    return file


def test_every_path_survives_json(make_config: MakeConfig) -> None:
    config = make_config(paradigms={"path-switching": {"mix": {"new": 0.9, "replay": 0.1}}, "ptfs": {}, "cpt": {}})
    for path in paths(config, 4).values():
        values = json.loads(json.dumps(path_identity(path, config, "tok", sources(), NEWEST)["path"]))
        assert path_from_json(values) == path


@pytest.mark.parametrize("versions", [1, 3, 4])
def test_a_longer_or_shorter_plan_is_the_same_main_path(written: Path, make_config: MakeConfig, versions: int) -> None:
    config = make_config()
    check_identity(written, path_identity(paths(config, versions)["main"], config, "tok", sources(), NEWEST))


def test_what_only_changes_the_speed_is_no_part_of_it(written: Path, make_config: MakeConfig) -> None:
    config = make_config(engine={"zero_stage": 3}, batch={"sequences": 2, "micro_sequences": 1})
    check_identity(written, path_identity(paths(config, 3)["main"], config, "tok", sources(), NEWEST))


def test_the_seed_of_the_order_is_part_of_it_where_it_is_another(written: Path, make_config: MakeConfig) -> None:
    data = make_config().data.model_dump(mode="json", exclude_none=True)
    same, other = (make_config(data={**data, "order_seed": seed}) for seed in (7, 8))
    assert make_config().seed == 7
    check_identity(written, path_identity(paths(same, 3)["main"], same, "tok", sources(), NEWEST))
    with pytest.raises(LineageError, match="`data.order_seed`: the run was begun with 7, the config says 8"):
        check_identity(written, path_identity(paths(other, 3)["main"], other, "tok", sources(), NEWEST))


def test_another_plan_is_refused_with_the_difference(written: Path, make_config: MakeConfig) -> None:
    config = make_config(seed=8)
    with pytest.raises(LineageError) as caught:
        check_identity(written, path_identity(paths(config, 3)["main"], config, "tok", sources(), NEWEST))
    assert "`seed`: the run was begun with 7, the config says 8" in str(caught.value)
    assert "give the plan another `name`" in str(caught.value)


def test_attention_within_documents_is_part_of_it_where_it_is_asked_for(
    written: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config()
    data = config.data.model_dump(mode="json", exclude_none=True)
    within = make_config(data={**data, "attention_across_documents": False})
    plain = path_identity(paths(config, 3)["main"], config, "tok", sources(), NEWEST)
    other = path_identity(paths(within, 3)["main"], within, "tok", sources(), NEWEST)
    assert "attention_across_documents" not in plain["training"], "directories from before the key are not foreign"
    with pytest.raises(
        LineageError, match="`data.attention_across_documents`: the run was begun with true, the config says false"
    ):
        check_identity(written, other)
    written.write_text(json.dumps(other))
    check_identity(written, other)
    with pytest.raises(
        LineageError, match="`data.attention_across_documents`: the run was begun with false, the config says true"
    ):
        check_identity(written, plain)


def test_other_data_or_another_tokenizer_is_refused(written: Path, make_config: MakeConfig) -> None:
    config = make_config()
    main = paths(config, 3)["main"]
    with pytest.raises(
        LineageError, match="`data.versions.v1`: the run was begun with shards whose manifest is one with SHA"
    ):
        check_identity(
            written, path_identity(main, config, "tok", sources(v1={"manifest_sha256": "other", "rows": 200}), NEWEST)
        )
    with pytest.raises(LineageError, match="`data.tokenizer`"):
        check_identity(written, path_identity(main, config, "other", sources(), NEWEST))


def test_what_is_not_known_is_not_compared(written: Path, make_config: MakeConfig) -> None:
    config = make_config()
    main = paths(config, 3)["main"]
    check_identity(written, path_identity(main, config, None, {}, NEWEST))
    known = path_identity(main, config, "tok", sources(), NEWEST)
    known["training"]["initial_weights"] = "digest"
    check_identity(written, known)
    written.write_text(json.dumps(known))
    known["training"]["initial_weights"] = "other"
    with pytest.raises(LineageError, match="`model.checkpoint`"):
        check_identity(written, known)


def test_a_damaged_identity_is_refused(written: Path, make_config: MakeConfig) -> None:
    written.write_text(written.read_text()[:-9])
    config = make_config()
    with pytest.raises(LineageError, match="cannot be read"):
        check_identity(written, path_identity(paths(config, 3)["main"], config, "tok", sources(), NEWEST))


def test_amendments_are_recorded_within_the_path_and_compared_nowhere(written: Path, make_config: MakeConfig) -> None:
    config = make_config()
    main = replace(paths(config, 3)["main"], amendments=(Amendment(4, skip=2, reason="spike"),))
    amended = path_identity(main, config, "tok", sources(), NEWEST)
    assert path_from_json(json.loads(json.dumps(amended["path"]))) == main
    check_identity(written, amended)
    written.write_text(json.dumps(amended))
    check_identity(written, path_identity(paths(config, 4)["main"], config, "tok", sources(), NEWEST))


def test_the_history_that_a_branch_forked_from_is_recorded_where_there_is_one(make_config: MakeConfig) -> None:
    config = make_config()
    branch = paths(config, 3)["branch-v2"]
    assert branch.parent is not None
    plain = path_identity(branch, config, "tok", sources(), NEWEST)
    assert "parent_generation" not in plain["path"]
    assert "amendments" not in plain["path"]
    later = replace(branch, parent=replace(branch.parent, generation=2))
    values = path_identity(later, config, "tok", sources(), NEWEST)
    read = path_from_json(json.loads(json.dumps(values["path"])))
    assert read.parent is not None
    assert read.parent.generation == 2
    assert {key: value for key, value in values["path"].items() if key != "parent_generation"} == plain["path"]


def test_amendments_of_a_later_version_are_refused(written: Path, make_config: MakeConfig) -> None:
    config = make_config()
    main = paths(config, 3)["main"]
    values = path_identity(main, config, "tok", sources(), NEWEST)
    values["path"]["amendments"] = [{"at": 4, "something": "new"}]
    written.write_text(json.dumps(values))
    with pytest.raises(LineageError, match="cannot be read"):
        check_identity(written, path_identity(main, config, "tok", sources(), NEWEST))
