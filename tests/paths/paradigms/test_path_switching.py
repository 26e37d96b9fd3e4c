"""Path switching, compared with independent arithmetic: geometry, rates, and rows of branches and the main path."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.paths.graph import Graph
from lrps.paths.paradigms.compile import compile_graph
from support.compiled_paths import compiled, increments, parts, rows_read

MakeConfig = Callable[..., Config]


def test_branches_end_with_their_increment_and_main_stops_at_the_last_fork() -> None:
    main, *branches = compiled([100, 50, 200]).paths
    assert [(b.name, b.start, b.stop) for b in branches] == [
        ("branch-v1", 40, 100),
        ("branch-v2", 120, 150),
        ("branch-v3", 230, 350),
    ]
    assert main.stop == 230
    assert parts(main) == [("v1", 0, 200), ("v2", 0, 100), ("v3", 0, 160)]


@given(steps=st.lists(st.integers(1, 300), min_size=1, max_size=8), alpha=st.floats(0.01, 1))
@settings(deadline=None)
def test_a_branch_reads_what_the_main_path_would_have_read_next(steps: list[int], alpha: float) -> None:
    paradigm = compiled(steps, alpha=alpha)
    main_rows = [(f"v{k}", row) for k, t in enumerate(steps, 1) for row in range(2 * t)]
    for path in paradigm.paths:
        rows = [(source, row) for source, a, b in parts(path) for row in range(a, b)]
        assert rows == main_rows[2 * path.start : 2 * path.stop]


def test_the_rate_is_continuous_at_every_fork() -> None:
    paradigm = compiled([100, 50, 200], decay="cosine")
    main = paradigm.paths[0]
    for path in paradigm.paths[1:]:
        assert path.lr_start == main.schedule.lr_at(path.start)
        assert path.lr_stop == 0.0


def test_a_branch_under_a_power_law_starts_at_the_parents_rate() -> None:
    schedule = {"peak_lr": 1.0, "warmup_steps": 5, "power_coefficient": 2.0}
    paradigm = compiled([100, 100], schedule=schedule)
    assert paradigm.paths[2].lr_start == pytest.approx(2.0 * (16 * (paradigm.paths[2].start + 1)) ** -0.51)


def test_the_power_law_is_one_of_tokens_and_the_warmup_meets_it() -> None:
    schedule = {"peak_lr": 1.0, "warmup_steps": 5, "power_coefficient": 2.0}
    main = compiled([100, 100], schedule=schedule).paths[0].schedule
    assert main.lr_at(50) == pytest.approx(2.0 * (16 * 51) ** -0.51)
    assert main.lr_at(4) == pytest.approx(main.lr_at(5))


def test_a_fork_inside_the_warmup_finishes_the_warmup() -> None:
    _, branch = compiled([10], schedule={"peak_lr": 1.0, "warmup_steps": 8}).paths
    assert branch.start == 4
    assert [branch.schedule.lr_at(s) for s in (4, 7, 8, 9)] == pytest.approx([5 / 8, 1.0, 1.0, 0.5])


def test_a_branch_of_everything_needs_no_main_path() -> None:
    (branch,) = compiled([100], alpha=1).paths
    assert branch.parent is None
    assert branch.lr_start == pytest.approx(1 / 5)


def test_the_first_version_can_be_released_undecayed() -> None:
    paradigm = compiled([100, 100], release_first=False)
    assert [path.name for path in paradigm.paths] == ["main", "branch-v2"]
    assert [(r.version, r.path, r.step) for r in paradigm.releases] == [("v1", "main", 100), ("v2", "branch-v2", 200)]
    assert paradigm.total_steps == 200
    assert Graph((paradigm,)).branch_points("main") == (100, 140)


@pytest.mark.parametrize("release", ["main", "merge"])
def test_versions_without_a_branch_cost_their_increments_alone(release: str) -> None:
    paradigm = compiled([100, 100, 100, 100], release=release)
    (main,) = paradigm.paths
    assert (main.stop, paradigm.total_steps) == (400, 400)
    assert paradigm.total_steps / compiled([100, 100, 100, 100], kind="ptfs").total_steps == 0.4
    assert [(r.version, r.path, r.step) for r in paradigm.releases] == [(f"v{k}", "main", 100 * k) for k in range(1, 5)]
    assert {r.form for r in paradigm.releases} == {"raw" if release == "main" else "merge"}


@given(
    steps=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    chosen=st.lists(st.sampled_from(["branch", "main", "merge"]), min_size=6, max_size=6),
)
@settings(deadline=None)
def test_the_main_path_reaches_the_last_fork_and_the_end_of_increments_without_a_branch(
    steps: list[int], chosen: list[str]
) -> None:
    per_version = {f"v{k}": release for k, release in enumerate(chosen[: len(steps)], 1)}
    paradigm = compiled(steps, release_per_version=per_version)
    decays = [
        max(1, int(0.6 * t + 0.5)) if release == "branch" else 0 for t, release in zip(steps, chosen, strict=False)
    ]
    reached = max(sum(steps[: k + 1]) - decay for k, decay in enumerate(decays))
    assert paradigm.total_steps == reached + sum(decays)
    main = next((path for path in paradigm.paths if path.kind == "main"), None)
    assert (main.stop if main else 0) == reached
    assert [path.name for path in paradigm.paths if path.kind == "branch"] == [
        f"branch-{version}" for version, release in per_version.items() if release == "branch"
    ]
    for release, kind in zip(paradigm.releases, chosen, strict=False):
        assert release.path == (f"branch-{release.version}" if kind == "branch" else "main")
        assert release.form == ("merge" if kind == "merge" else "raw")


def test_release_first_is_another_spelling_of_one_version_that_is_the_main_path() -> None:
    assert compiled([100, 50], release_first=False) == compiled([100, 50], release_per_version={"v1": "main"})
    merged = compiled([100, 50], release_first=False, release="merge")
    assert [(r.step, r.form) for r in merged.releases] == [(100, "raw"), (150, "merge")]
    with pytest.raises(ConfigError, match="release_per_version.v1 as merge; leave one of them out"):
        compiled([100, 50], release_first=False, release_per_version={"v1": "merge"})
    with pytest.raises(ValueError, match="release_per_version.v7"):
        compiled([100, 50], release_per_version={"v7": "main"})


def test_the_states_of_a_merge_are_branch_points() -> None:
    paradigm = compiled([100, 100], release_per_version={"v2": "merge"})
    assert Graph((paradigm,)).branch_points("main") == (40, *range(182, 201, 2))
    raw = compiled([100, 100], release_per_version={"v2": "main"})
    assert Graph((raw,)).branch_points("main") == (40, 200)
    assert len(Graph((paradigm, raw)).releases) == 3, "v1 is one branch; v2 is released in two forms"


def test_whole_branch_data_is_a_reshuffled_pass_over_the_increment() -> None:
    branch = compiled([100, 50], branch_data="whole").paths[2]
    assert parts(branch) == [("v2", 101, 161)]  # The increment has 101 rows: position 101 begins the second epoch.


def test_replay_takes_its_share_and_continues_at_each_sources_next_row() -> None:
    branch = compiled([100, 100, 100], mix={"new": 0.9, "replay": 0.1}).paths[3]
    assert branch.rows == 120
    assert parts(branch) == [("v3", 80, 188), ("v1", 200, 206), ("v2", 200, 206)]
    first = compiled([100, 100, 100], mix={"new": 0.9, "replay": 0.1}).paths[1]
    assert parts(first) == [("v1", 80, 200)], "there is nothing to replay before version 1"


@given(steps=st.lists(st.integers(10, 200), min_size=2, max_size=6), share=st.integers(1, 60))
@settings(deadline=None)
def test_no_row_is_read_twice_along_a_lineage(steps: list[int], share: int) -> None:
    mix = {"new": 1 - share / 100, "replay": share / 100}
    schedule = {"peak_lr": 1.0, "warmup_steps": 5}
    for kind in ("cpt", "path-switching"):
        paradigm = compiled(steps, kind=kind, mix=mix, schedule=schedule)
        graph = Graph((paradigm,))
        for path in paradigm.paths:
            read = [row for ancestor in graph.lineage(path) for row in rows_read(ancestor, path)]
            assert len(read) == len(set(read)), f"{path.name} reads a row twice"


def test_the_main_path_may_read_older_rows_too() -> None:
    """Steps and forks stay. Between two forks the mix has its exact share, and branches continue where main was."""
    mix = {"new": 0.9, "replay": 0.1}
    main, *branches = compiled([100, 100, 100], main_mix=mix).paths
    plain, *plain_branches = compiled([100, 100, 100]).paths
    assert (main.stop, [b.start for b in branches]) == (plain.stop, [b.start for b in plain_branches])
    assert parts(main) == [
        ("v1", 0, 200),
        *[("v2", 0, 72), ("v1", 200, 208)],  # to the fork of version 2
        *[("v2", 72, 180), ("v1", 208, 220)],
        *[("v3", 0, 72), ("v1", 220, 224), ("v2", 180, 184)],  # The rows of v2 that the mix displaced come first.
    ]
    assert [segment.steps for segment in main.segments] == [100, 40, 60, 40]
    assert parts(branches[1]) == [("v2", 72, 192)]
    replaying = compiled([100, 100, 100], main_mix=mix, mix=mix).paths
    assert parts(replaying[3]) == [("v3", 72, 180), ("v1", 224, 230), ("v2", 184, 190)]
    assert replaying[0] == main


def test_main_paths_of_another_alpha_are_one_unless_they_are_mixed(make_config: MakeConfig) -> None:
    """Mixtures are exact only as a whole and end at the forks, so main paths with other forks have other mixtures."""
    for mix, mains in (({}, 1), ({"main_mix": {"new": 0.5, "replay": 0.5}}, 2)):
        long = {"kind": "path-switching", "alpha": 0.8, **mix}
        config = make_config(paradigms={"path-switching": mix, "long": long})
        graph = compile_graph(config, increments(100, 100))
        assert [path.kind for path in graph.paths].count("main") == mains


def test_a_peak_of_the_paradigm_is_that_of_main_path_and_branches() -> None:
    main, *branches = compiled([100, 100], peak_lr=0.5).paths
    assert main.schedule.lr_at(90) == 0.5
    assert [branch.lr_start for branch in branches] == [0.5, 0.5]
