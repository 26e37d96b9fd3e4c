"""Mixes by name and steps that are added: exact steps, exact rows, and a fork and a main path that stay."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.config.models import Config
from lrps.paths.attribution import marginal_steps
from lrps.paths.graph import Paradigm
from lrps.paths.paradigms.compile import compile_graph
from lrps.paths.usage import RowUsage
from support.compiled_paths import compiled, increments, parts
from support.values import config_values

STEPS = st.lists(st.integers(12, 60), min_size=2, max_size=5)
EXTRA = st.dictionaries(st.sampled_from(["r1", "r2", "v1", "v2"]), st.sampled_from([0.05, 0.1, 0.25, 0.5]), min_size=1)
SETS = (("r1", 40, "v2"), ("r2", 9, "v3"))


def readable(name: str, k: int) -> bool:
    """Whether version k, counted from 0, may read a set or an older version."""
    return k >= {"r1": 1, "r2": 2, "v1": 1, "v2": 2}[name]


def added(extra: dict[str, float], k: int, steps: int) -> int:
    share = sum(Fraction(str(share)) for name, share in extra.items() if readable(name, k))
    return int(share * steps + Fraction(1, 2))


def rows_of(paradigm: Paradigm, name: str) -> dict[str, list[int]]:
    """Return source -> positions that a path reads, of each source in order."""
    path = next(path for path in paradigm.paths if path.name == name)
    found: dict[str, list[int]] = {}
    for source, begin, end in parts(path):
        found.setdefault(source, []).extend(range(begin, end))
    return found


@given(steps=STEPS, extra=EXTRA, alpha=st.sampled_from([0.2, 0.6, 1.0]))
@settings(deadline=None)
def test_extra_adds_its_share_of_a_branch_and_leaves_the_main_path(
    steps: list[int], extra: dict[str, float], alpha: float
) -> None:
    extra = {name: share for name, share in extra.items() if name[0] == "r" or name <= f"v{len(steps)}"}
    plain = compiled(steps, alpha=alpha, sets=SETS)
    mixed = compiled(steps, alpha=alpha, sets=SETS, mix={"extra": extra})
    mains = [[path for path in paradigm.paths if path.kind == "main"] for paradigm in (plain, mixed)]
    assert mains[0] == mains[1]
    for k, (before, after) in enumerate(zip(plain.paths[len(mains[0]) :], mixed.paths[len(mains[0]) :], strict=True)):
        more = added(extra, k, before.steps)
        assert (after.parent, after.start, after.steps) == (before.parent, before.start, before.steps + more)
        assert mixed.releases[k].step == after.stop
        if after.start:
            assert after.lr_start == before.lr_start
            falling = [after.schedule.lr_at(step) for step in range(after.start, after.stop)]
            assert falling == sorted(falling, reverse=True), "the added steps are inside the decay"
        assert after.lr_stop == before.lr_stop == 0.0
        old, new = rows_of(plain, before.name), rows_of(mixed, after.name)
        assert {name: rows for name, rows in new.items() if name in old} == old, "no new row is left out or twice"
        others = {name: rows for name, rows in new.items() if name not in old}
        assert sum(map(len, others.values())) == 2 * more
        whole = sum(share for name, share in extra.items() if readable(name, k))
        for name, rows in others.items():
            assert rows == list(range(rows[0], rows[0] + len(rows)))
            assert abs(len(rows) - 2 * more * extra[name] / whole) < 1
    assert sum(marginal_steps(mixed)) == mixed.total_steps
    branches = plain.paths[len(mains[0]) :]
    assert mixed.total_steps == plain.total_steps + sum(added(extra, k, p.steps) for k, p in enumerate(branches))


@given(steps=STEPS, share=st.sampled_from([0.1, 0.25]))
@settings(deadline=None)
def test_versions_of_cpt_follow_one_another_and_read_a_set_on(steps: list[int], share: float) -> None:
    paradigm = compiled(steps, kind="cpt", sets=SETS, mix={"extra": {"r1": share}})
    start, read = 0, 0
    for k, path in enumerate(paradigm.paths):
        more = added({"r1": share}, k, steps[k])
        assert (path.start, path.steps) == (start, steps[k] + more)
        rows = rows_of(paradigm, path.name)
        assert rows[f"v{k + 1}"] == list(range(2 * steps[k]))
        assert rows.get("r1", []) == list(range(read, read + 2 * more))
        start, read = path.stop, read + 2 * more


@given(steps=STEPS)
@settings(deadline=None)
def test_the_rows_of_a_late_version_are_new_however_many_steps_were_added(steps: list[int]) -> None:
    versions = increments(*steps)
    paradigm = compiled(steps, kind="cpt", sets=SETS, mix={"extra": {"r1": 0.9, "v1": 0.9}})
    usage = RowUsage(versions, (), {}, ())
    for k, path in enumerate(paradigm.paths):
        own = [(part, part.rows) for segment in path.segments for part in segment.parts if part.source == f"v{k + 1}"]
        assert usage.of(path, own).unique == 2 * steps[k]


def test_shares_of_names_replace_new_rows() -> None:
    paradigm = compiled([40, 40, 40], sets=SETS, mix={"new": 0.7, "r1": 0.2, "r2": 0.1})
    found = [{source: end - begin for source, begin, end in parts(path)} for path in paradigm.paths[1:]]
    assert found[0] == {"v1": 48}
    assert found[1] == {"v2": 38, "r1": 10}, "r2 is not yet there, and its share stays with the new rows"
    assert found[2] == {"v3": 34, "r1": 10, "r2": 4}


def test_the_former_form_is_what_it_was() -> None:
    by_kind = compiled([40, 40, 40], sets=SETS, mix={"new": 0.7, "rehearsal": 0.3})
    found = [{source: end - begin for source, begin, end in parts(path)} for path in by_kind.paths[1:]]
    assert found == [{"v1": 48}, {"v2": 34, "r1": 14}, {"v3": 34, "r1": 11, "r2": 3}]


def test_paradigms_share_the_main_path_and_every_version_without_extra_steps() -> None:
    strategies: dict[str, Any] = {
        "path-switching": {},
        "more": {"kind": "path-switching", "mix": {"extra": {"v1": 0.1}}},
        "cpt": {},
        "cpt-more": {"kind": "cpt", "mix": {"extra": {"v1": 0.1}}},
    }
    data = {"root": "nowhere", "sequence_length": 8, "versions": [{"name": f"v{k}"} for k in (1, 2, 3)]}
    config = Config.model_validate(config_values(data=data, paradigms=strategies))
    graph = compile_graph(config, increments(40, 40, 40))
    assert list(graph.by_name) == [
        *("main", "branch-v1", "branch-v2", "branch-v3", "more-v2", "more-v3"),
        *("cpt-v1", "cpt-v2", "cpt-v3", "cpt-more-v2", "cpt-more-v3"),
    ]
