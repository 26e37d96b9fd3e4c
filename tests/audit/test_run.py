"""Audits of runs that the real writers wrote: the runs are clean, however they were interrupted."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lrps.audit.run import audit_run
from lrps.base.errors import ConfigError, LineageError
from lrps.base.files import atomic_write_json
from lrps.data.stream import PathData
from lrps.ledger.metrics import read_metrics
from lrps.plan.origin import Origin, origin_of
from lrps.plan.plan import Plan
from lrps.store.checkpoints import find, remove
from lrps.store.layout import PathLayout
from lrps.train.evaluate import HeldoutResult
from support.preloaded import run_lrps as lrps
from support.synthetic_run import (
    BATCH,
    LENGTH,
    Interruption,
    all_paths,
    attempt,
    edit,
    few,
    forge,
    last_records,
    plan_of,
    recorder_of,
    source_of,
    tokens_off,
    train,
)
from support.values import tiny_values


@st.composite
def paradigms(draw: st.DrawFn) -> dict[str, Any]:
    def mix() -> dict[str, float]:
        replay, rehearsal = draw(st.sampled_from([0, 0.25, 0.5])), draw(st.sampled_from([0, 0.25]))
        return {"new": 1 - replay - rehearsal, "replay": replay, "rehearsal": rehearsal}

    branches = {
        "alpha": draw(st.integers(10, 100)) / 100,
        "branch_data": draw(st.sampled_from(["rest", "whole"])),
        "release_first": draw(st.booleans()),
        "mix": mix(),
        "main_mix": mix(),
    }
    every = {"path-switching": branches, "ptfs": {}, "cpt": {"mix": mix()}, "wsd-s": {"final_lr": 0.1}}
    return {name: every[name] for name in draw(st.lists(st.sampled_from(sorted(every)), min_size=1, unique=True))}


interruptions = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["stop", "kill", "failure", "torn", "published"])), max_size=12
)


@given(
    steps=st.lists(st.integers(5, 16), min_size=1, max_size=3),
    spare=st.integers(0, 1),
    epochs=st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(3, 2), Fraction(2)]),
    mixed=st.booleans(),
    paradigms=paradigms(),
    before=interruptions,
    after=interruptions,
    lag=st.integers(0, 5),
)
@example(  # The last rows of a mixture hold none of one of its parts.
    steps=[5, 5],
    spare=0,
    epochs=Fraction(1),
    mixed=True,
    paradigms={
        "cpt": {"mix": {"new": 1, "replay": 0, "rehearsal": 0}},
        "path-switching": {
            "alpha": 0.7,
            "branch_data": "rest",
            "release_first": False,
            "mix": {"new": 1, "replay": 0, "rehearsal": 0},
            "main_mix": {"new": 0.75, "replay": 0, "rehearsal": 0.25},
        },
    },
    before=[],
    after=[],
    lag=0,
)
@few
def test_an_interrupted_and_grown_run_is_clean(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[int],
    spare: int,
    epochs: Fraction,
    mixed: bool,
    paradigms: dict[str, Any],
    before: list[Interruption],
    after: list[Interruption],
    lag: int,
) -> None:
    runs = tmp_path_factory.mktemp("runs")
    try:
        first, grown = (plan_of(runs, versions, paradigms, spare, epochs, mixed) for versions in (steps[:2], steps))
        assert first.graph.paths
        train(first, before, lag=lag)
        run_dir = train(grown, after, lag=lag)
    except (ConfigError, LineageError):
        assume(False)  # The warm-up leaves no step, or the main path has passed the fork of an older version.
    audit = audit_run(run_dir)
    assert audit.differences == ()
    assert {lineage.path for lineage in audit.lineages} >= {path.name for path in grown.graph.paths}
    assert audit.tokens == audit.ledger_tokens == sum(path.steps for path in all_paths(grown)) * BATCH * LENGTH
    assert audit.rows * LENGTH == audit.tokens
    spent = [record.counters.steps for path in all_paths(grown) for record in last_records(grown, path.name)]
    assert audit.spare_steps == sum(spent) - audit.rows // BATCH
    shutil.rmtree(runs)


def test_a_clean_run(run: Path) -> None:
    audit = audit_run(run)
    assert audit.ok
    assert audit.spare_steps > 0, "some steps were lost and trained again"
    assert audit.checkpoints > 10
    (branch,) = (lineage for lineage in audit.lineages if lineage.path == "branch-v2")
    assert [(leg.path, leg.start, leg.stop) for leg in branch.legs] == [("main", 0, 15), ("branch-v2", 15, 22)]
    # Of the branch's 14 rows 4 are replayed: the one row of v1 that was left over, and 3 of its next epoch.
    assert [(use.source, use.epoch, use.rows, use.left_over_rows) for use in branch.uses] == [
        ("v1", 0, 21, 0),
        ("v1", 1, 3, 18),
        ("v2", 0, 20, 5),
    ]


def test_whole_begins_a_later_epoch_by_plan(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"branch_data": "whole"}})
    audit = audit_run(train(plan))
    assert audit.ok
    (branch,) = (lineage for lineage in audit.lineages if lineage.path == "branch-v2")
    assert [(use.epoch, use.rows, use.later_epoch_begun) for use in branch.uses if use.source == "v2"] == [
        (0, 10, True),
        (1, 14, False),
    ]


def test_whole_begins_after_the_increments_own_epochs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"branch_data": "whole"}}, epochs=Fraction(3, 2))
    audit = audit_run(train(plan))
    assert audit.ok
    uses = {lineage.path: lineage.uses for lineage in audit.lineages}
    (branch,) = (uses[name] for name in uses if name == "branch-v2")
    # 25 rows an epoch, 18 steps of 2 rows: the main path has read 14 rows, and the branch reads 22 of the third epoch.
    assert [(use.epoch, use.rows) for use in branch if use.source == "v2"] == [(0, 14), (2, 22)]
    assert [(use.epoch, use.rows) for use in uses["main"] if use.source == "v1"] == [(0, 21), (1, 9)]


def test_a_mixture_is_audited_part_by_part(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"branch_data": "whole"}}, mixed=True)
    audit = audit_run(train(plan))
    assert audit.ok
    (branch,) = (lineage for lineage in audit.lineages if lineage.path == "branch-v2")
    assert sum(use.rows for use in branch.uses) == branch.stop * BATCH == branch.rows
    # 25 rows are 17 of a, which has 25, and 8 of b, which has 4. The main path has read 10 of them, 7 and 3; the branch
    # begins after the mixture's first epoch, so it reads from position 17 of a and 8 of b on.
    used = [(use.source, use.epoch, use.rows, use.reached) for use in branch.uses if use.source.startswith("v2")]
    assert used == [("v2.a", 0, 15, 25), ("v2.a", 1, 2, 2), ("v2.b", 0, 3, 3), ("v2.b", 2, 4, 4)]
    assert {use.source: use.epoch_rows for use in branch.uses} == {"v1.a": 21, "v1.b": 3, "v2.a": 25, "v2.b": 4}


def test_a_mixture_whose_parts_were_changed_is_reported(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10], {"ptfs": {}}, mixed=True)
    run_dir = train(plan)
    edit(run_dir / "ptfs-v1" / "path.json", lambda values: values["sources"]["v1"]["parts"][0].update(rows=22))
    (difference,) = audit_run(run_dir).differences
    assert "the parts of a mixture were changed" in difference.what


def test_a_run_under_way_is_audited_as_far_as_it_is_saved(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10, 12], {"ptfs": {}})
    path = plan.graph.by_name["ptfs-v2"]
    train(plan, names=["ptfs-v1"])
    layout = plan.layout.path(path.name)
    layout.directory.mkdir()
    atomic_write_json(layout.path_json, plan.identity(path))
    attempt(plan, path, origin_of(path, plan.layout), 7, "kill")
    audit = audit_run(plan.layout.run_dir)
    assert audit.ok
    assert [(lineage.path, lineage.stop) for lineage in audit.lineages] == [("ptfs-v1", 10), ("ptfs-v2", 4)]
    assert audit.spare_steps == 2, "the last heartbeat is that of step 6"
    assert sum(use.rows for use in audit.lineages[1].uses) == 4 * BATCH, "the mixture, cut at step 4"


def test_earlier_states_may_be_evaluated_late(run: Path, clean: Plan) -> None:
    plan = replace(clean, config=clean.config.model_copy(update={"runs": run.parent, "name": "run"}))
    path = plan.graph.by_name["main"]
    stage = PathData(path.segments, {name: source_of(plan, name) for name in path.sources}, BATCH)
    book = recorder_of(plan, path, stage, origin_of(path, plan.layout))
    result = {"loss": 2.0, "bits_per_byte": 3.0, "rows": 1, "tokens": 5, "manifest_sha256": "m"}
    book.evaluation(plan.graph.branch_points("main")[0], {"v3": HeldoutResult(result, [])})
    book.stop("complete")
    book._close(0)
    assert audit_run(run).ok


def test_a_state_that_was_saved_again_without_a_record_is_another_one(tmp_path: Path) -> None:
    """The state of step 8 is lost and trained again, on other devices, by an attempt that dies before its record."""
    plan = plan_of(tmp_path, [10], {"ptfs": {}})
    path = plan.graph.by_name["ptfs-v1"]
    layout = plan.layout.path(path.name)
    layout.directory.mkdir(parents=True)
    atomic_write_json(layout.path_json, plan.identity(path))
    attempt(plan, path, origin_of(path, plan.layout), 9, "kill")
    remove(find(layout, 8).directory)
    attempt(plan, path, origin_of(path, plan.layout), 4, "published")
    forge(find(layout, 8), lambda identity: identity.update(world_size=2))
    assert audit_run(plan.layout.run_dir).differences == ()


def test_an_attempt_that_saved_nothing_does_not_count(tmp_path: Path) -> None:
    """A path that never saved anything may become another one; its steps are waste."""
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"alpha": 0.6}})
    train(plan, names=["main"])
    other = plan_of(tmp_path, [10, 12], {"path-switching": {"alpha": 0.5}})
    branch = other.graph.by_name["branch-v1"]
    attempt(other, branch, Origin("fork", branch.start, None), 2, "kill")
    audit = audit_run(train(plan))
    assert audit.ok
    assert audit.spare_steps == 1, "the last heartbeat is that of step 6"


def test_the_verb(run: Path, data_root: Path, tmp_path: Path) -> None:
    done = lrps("data", "audit", run, "--json", "--rows", "--data", data_root)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"]
    assert document["recomputed_rows"] > 0

    done = lrps("data", "audit", run, "--rows")
    assert (done.returncode, "--data DIR" in done.stderr) == (2, True)
    done = lrps("data", "audit", tmp_path)
    assert done.returncode == 2
    assert "has no path that was started" in done.stderr
    tokens_off(run)
    done = lrps("data", "audit", run)
    assert done.returncode == 2
    assert "NOT PROVED: main at step 15" in done.stdout


@pytest.mark.slow
@pytest.mark.long
def test_a_real_run_interrupted_and_resumed_is_clean(tiny_config: Path, tmp_path: Path) -> None:
    """Path switching and CPT with replay, stopped by a signal, killed, and completed."""
    mix = {"new": 0.7, "replay": 0.3}
    paradigms = {"path-switching": {"alpha": 0.6, "mix": mix}, "cpt": {"mix": mix}}
    changes = {"runs": str(tmp_path / "runs"), "launch": {"processes": 1}, "paradigms": paradigms}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tiny_values(tiny_config.parent, versions=2, **changes), sort_keys=False))
    metrics = PathLayout(tmp_path / "runs" / "tiny" / "main").metrics
    for steps, number in ((3, signal.SIGINT), (12, signal.SIGKILL)):
        command = [sys.executable, "-m", "lrps.cli", "run", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 600
            while len(read_metrics(metrics)) < steps:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "training did not begin"
                time.sleep(0.01)
            stop(process, file, number)
            process.communicate()
        assert lrps("data", "audit", file).returncode == 0, "an unfinished run is clean as far as it is saved"
    done = lrps("run", file)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    audited = lrps("data", "audit", file, "--rows", "--json")
    assert audited.returncode == 0, audited.stdout
    document = json.loads(audited.stdout)
    assert {lineage["path"] for lineage in document["lineages"]} == {
        "main",
        "branch-v1",
        "branch-v2",
        "cpt-v1",
        "cpt-v2",
    }
    assert all(lineage["step"] == lineage["stop_step"] for lineage in document["lineages"])
    assert document["tokens"] == document["ledger_tokens"] == (28 + 12 + 12 + 20 + 20) * 4 * 16
    assert document["recomputed_rows"] >= 2 * 80, "both versions whole, and the epochs of the replay"


def stop(process: subprocess.Popen[str], file: Path, number: signal.Signals) -> None:
    """Ask the launcher to stop, or kill the training process."""
    if number != signal.SIGKILL:
        process.send_signal(number)
        return
    for worker in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if {"train", str(file)} <= set(worker.cmdline()):
                worker.kill()
