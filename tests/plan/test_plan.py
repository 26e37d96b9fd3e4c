"""From config and manifests to increments."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError, DataError, LineageError
from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.plan.plan import make_plan
from lrps.store.identity import check_identity

MakeConfig = Callable[..., Config]


def test_planned_tokens_are_whole_rows_and_whole_steps(make_config: MakeConfig) -> None:
    versions = [{"name": "v1", "tokens": 1605}, {"name": "v2", "tokens": "1.6K"}]
    plan = make_plan(make_config(data={"root": "x", "sequence_length": 8, "versions": versions}))
    assert [(i.rows, i.steps, i.rows - i.used(2)) for i in plan.increments] == [(200, 100, 0), (200, 100, 0)]
    three = make_plan(make_config(batch={"sequences": 3}))
    assert [(i.rows, i.steps, i.rows - i.used(3)) for i in three.increments] == [(200, 66, 2)] * 4


def test_a_size_that_nobody_knows_is_refused(make_config: MakeConfig) -> None:
    for version, way_out in (({"name": "v1"}, "tokens:"), ({"name": "v1", "text": ["a.txt"]}, "lrps data build")):
        with pytest.raises(ConfigError, match=f"version v1: no shards in nowhere.*{way_out}"):
            make_plan(make_config(data={"root": "nowhere", "sequence_length": 8, "versions": [version]}))


def test_shards_say_how_much_there_is(tiny_config: Path) -> None:
    config = load_config(tiny_config)
    plan = make_plan(config)
    assert [i.rows for i in plan.increments] == [80, 80], "cut to the tokens of the config"
    everything = config.data.model_copy(
        update={"versions": tuple(v.model_copy(update={"tokens": None}) for v in config.data.versions)}
    )
    whole = make_plan(config.model_copy(update={"data": everything}))
    assert [i.rows for i in whole.increments] == [m.rows(16) for m in whole.manifests.values()]
    with pytest.raises(DataError, match=r"v1: the config wants 6250000 sequences of 16 tokens, its shards hold \d+"):
        make_plan(load_config(tiny_config, ["data.versions.0.tokens=100M"]))


def test_rehearsal_sets_are_known_by_their_shards_or_their_tokens(tiny_config: Path) -> None:
    sets = [
        "data.rehearsal=[{name: v3, since: v2}, {name: later, since: v2, tokens: 85}]",
        "paradigms.cpt.mix={new: 0.8, rehearsal: 0.2}",
    ]
    plan = make_plan(load_config(tiny_config, sets))
    assert [(each.name, each.rows, each.since) for each in plan.rehearsal] == [
        ("v3", plan.manifests["v3"].rows(16), "v2"),
        ("later", 5, "v2"),
    ]
    assert list(plan.rows) == ["v1", "v2", "v3", "later"]
    assert [increment.version for increment in plan.increments] == list(plan.heldout) == ["v1", "v2"]
    with pytest.raises(ConfigError, match="version r: no shards in .*tokens:"):
        make_plan(load_config(tiny_config, ["data.rehearsal=[{name: r, since: v2}]"]))
    with pytest.raises(DataError, match=r"lower data.rehearsal.v3.tokens"):
        make_plan(load_config(tiny_config, ["data.rehearsal=[{name: v3, since: v2, tokens: 100M}]"]))


def test_a_path_is_another_one_with_other_rehearsal_data(tiny_config: Path, tmp_path: Path) -> None:
    mixed = ["paradigms.cpt.mix={new: 0.8, rehearsal: 0.2}", "data.rehearsal=[{name: v3, since: v2, tokens: 320}]"]
    plan, plain = make_plan(load_config(tiny_config, mixed)), make_plan(load_config(tiny_config))
    first, second = (plan.identity(plan.graph.by_name[name]) for name in ("cpt-v1", "cpt-v2"))
    assert second["sources"]["v3"] == {"manifest_sha256": plan.manifests["v3"].sha256, "rows": 20}
    assert first == plain.identity(plain.graph.by_name["cpt-v1"]), "the set is not there yet"

    path_json = tmp_path / "path.json"
    path_json.write_text(json.dumps(second))
    check_identity(path_json, second)
    built_again = replace(plan, manifests=plan.manifests | {"v3": plan.manifests["v2"]})
    with pytest.raises(LineageError, match="`data.versions.v3`: the run was begun with shards"):
        check_identity(path_json, built_again.identity(plan.graph.by_name["cpt-v2"]))
    larger = make_plan(load_config(tiny_config, [mixed[0], mixed[1].replace("320", "480")]))
    with pytest.raises(
        LineageError,
        match="`data.rehearsal.v3.tokens`: the run was begun with 20 sequences in a pass, the config says 30",
    ):
        check_identity(path_json, larger.identity(larger.graph.by_name["cpt-v2"]), larger.config)


def test_a_version_is_evaluated_on_all_so_far_and_the_next(make_config: MakeConfig) -> None:
    plan = make_plan(make_config())
    assert plan.heldout_versions("v1") == ("v1", "v2")
    assert plan.heldout_versions("v4") == ("v1", "v2", "v3", "v4")


def test_named_paths_are_in_the_order_of_the_graph_and_an_unknown_name_is_refused(make_config: MakeConfig) -> None:
    plan = make_plan(make_config())
    assert [path.name for path in plan.named_paths(["branch-v2", "main", "branch-v2"])] == ["main", "branch-v2"]
    with pytest.raises(ConfigError, match=r"the plan has no path mian; it has main, .*; did you mean main\?"):
        plan.named_paths(["main", "mian"])


def test_identity_names_the_data_and_the_tokenizer(tiny_config: Path) -> None:
    plan = make_plan(load_config(tiny_config))
    identity = plan.identity(plan.graph.by_name["branch-v2"])
    assert identity["sources"] == {"v2": {"manifest_sha256": plan.manifests["v2"].sha256, "rows": 80}}
    assert identity["training"]["tokenizer_sha256"] == plan.manifests["v1"].tokenizer.sha256
    shorter = replace(plan, increments=plan.increments[:1])
    assert "v2" not in shorter.identity(plan.graph.by_name["branch-v2"])["sources"]


def test_a_synthetic_set_is_as_large_as_its_ratio_says(make_config: MakeConfig) -> None:
    versions = [{"name": "v1", "tokens": 1600}, {"name": "v2", "tokens": 840}, {"name": "v3", "tokens": 1600}]
    synthesis = {"of": ["v1", "v2"], "ratio": 0.1}

    def rows(**changes: object) -> int:
        made = {"name": "r", "since": "v3", "synthesis": {**synthesis, **changes}}
        return make_plan(
            make_config(data={"root": "x", "sequence_length": 8, "versions": versions, "rehearsal": [made]})
        ).rows["r"]

    assert rows() == (200 + 105) // 10
    assert rows(of="v1", ratio=0.29) == 58, "in decimals, not in floats"


def test_a_synthetic_set_that_is_too_small_takes_another_name(tiny_config: Path) -> None:
    made = "data.rehearsal=[{name: v3, since: v2, tokens: 100M, synthesis: {of: v1}}]"
    with pytest.raises(DataError, match=r"lower data.rehearsal.v3.tokens or its synthesis.ratio; .*another name"):
        make_plan(load_config(tiny_config, [made]))


def test_a_heldout_set_without_a_whole_sequence_is_none(tiny_config: Path) -> None:
    whole = make_plan(load_config(tiny_config))
    assert (tuple(whole.heldout), whole.without_heldout) == (("v1", "v2"), ())
    long = make_plan(load_config(tiny_config, ["data.sequence_length=64"]))
    tokens = {version: source.parts[0].manifest.tokens for version, source in whole.heldout.items()}
    length = max(tokens.values()) + 1
    assert length > 64
    none = replace(
        long,
        config=long.config.model_copy(update={"data": long.config.data.model_copy(update={"sequence_length": length})}),
    )
    assert (none.heldout, none.without_heldout) == ({}, ("v1", "v2"))


def test_another_heldout_share_than_that_of_the_shards_is_refused(tiny_config: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"data.heldout_share is 0\.3, but shards were built with another one \(v1 with 0\.2"
    ):
        make_plan(load_config(tiny_config, ["data.heldout_share=0.3"]))
    values = {"name": "v1", "url": "https://host/v1"}
    elsewhere = load_config(tiny_config, ["data.heldout_share=0.3", f"data.versions=[{json.dumps(values)}]"])
    assert make_plan(elsewhere).without_heldout == (), "shards that were built elsewhere keep their share"
