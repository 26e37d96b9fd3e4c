"""The audit: runs written by the real writers are clean however they were interrupted; no corrupted one is."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lrps.audit.run import audit_run
from lrps.config.models import Config
from lrps.data.files import LocalFiles
from lrps.data.manifest import FORMAT, Blocks, Manifest, Shard, TokenizerIdentity, manifest_path, save_manifest
from lrps.data.order import Order
from lrps.data.stream import Source, Stage
from lrps.errors import ConfigError, LineageError
from lrps.ledger.reader import read_attempt, read_ledger
from lrps.ledger.records import Record, attempt_files
from lrps.ledger.writer import LedgerWriter
from lrps.paths.graph import Path
from lrps.paths.paradigms import Increment, RehearsalSet
from lrps.plan import Plan
from lrps.report.audit_document import audit_document, print_audit
from lrps.store.checkpoints import Checkpoint, begin, complete_checkpoints, find, pin, prune, publish, seal
from lrps.store.files import atomic_write_json
from lrps.store.layout import PathLayout
from lrps.track.console import TrainingConsole
from lrps.track.metrics import read_metrics
from lrps.train.account import DeviceClock, open_account
from lrps.train.origin import Origin, origin_of
from lrps.train.recorder import Recorder
from tests_support import config_values, tiny_values

LENGTH, BATCH = 8, 2
Interruption = tuple[int, str]
"""After how many steps an attempt ends, and how: stop | kill | failure | torn | published."""

PARADIGMS: dict[str, Any] = {
    "path-switching": {"alpha": 0.6, "mix": {"new": 0.7, "replay": 0.3}},
    "ptfs": {},
    "cpt": {"mix": {"new": 0.75, "replay": 0.25}},
}


# Runs without training: the plan, the writers and the interruptions are real


def manifest(name: str, rows: int) -> Manifest:
    blocks = Blocks(name, "train")
    blocks.append(512, rows * LENGTH, 0)
    shard = Shard(f"{name}.tar", f"{name}.tar", 512 + 2 * rows * LENGTH, "0" * 64, rows * LENGTH, range(1))
    tokenizer = TokenizerIdentity("none", "0" * 64, 257, 256)
    return Manifest(FORMAT, name, "train", "uint16", rows * LENGTH, 1, 1, tokenizer, {}, (shard,), blocks)


def plan_of(runs: FilePath, steps: list[int], paradigms: dict[str, Any], spare: int = 1) -> Plan:
    """Versions v1.. of so many steps of 2 rows of 8 tokens, and `spare` rows more; 17 rows for rehearsal."""
    increments = tuple(Increment(f"v{k}", BATCH * n + spare, n) for k, n in enumerate(steps, 1))
    data = {
        "root": "nowhere",
        "sequence_length": LENGTH,
        "versions": [{"name": i.version} for i in increments],
        "rehearsal": [{"name": "r1", "since": "v1"}],
    }
    values = config_values(runs=str(runs), data=data, paradigms=paradigms, schedule={"peak_lr": 1.0, "warmup_steps": 2})
    config = Config.model_validate({**values, "checkpoint": {"every_steps": 4}, "track": {"log_every_steps": 3}})
    manifests = {i.version: manifest(i.version, i.rows) for i in increments} | {"r1": manifest("r1", 17)}
    return Plan(config, increments, manifests, (RehearsalSet("r1", 17, since="v1"),))


def save(plan: Plan, path: Path, stage: Stage, step: int) -> Checkpoint:
    """What the trainer does on rank 0, with a state of one byte."""
    layout = plan.layout.path(path.name)
    temporary = begin(layout.checkpoints, step)
    (temporary / "state.bin").write_bytes(b"x")
    identity = {
        "plan": plan.config.name,
        "path": path.name,
        "training_sha256": plan.training_sha256,
        "tokens": step * plan.config.tokens_per_step,
        "positions": stage.positions(step - path.start),
    }
    checkpoint = publish(temporary, step, {"state.bin": seal(temporary / "state.bin")}, identity)
    if step in plan.graph.branch_points(path.name):
        pin(checkpoint, layout.branch_points)
    prune(layout.checkpoints, 1 if step == path.stop else 2)
    return checkpoint


def recorder_of(plan: Plan, path: Path, stage: Stage, origin: Origin) -> Recorder:
    account = open_account(plan, path, stage, 2, DeviceClock(time.time()))
    layout, every = plan.layout.path(path.name), plan.config.track.log_every_steps
    book = Recorder(path, layout, TrainingConsole(1, quiet=True), account, log_every_steps=every)
    manifests = {name: plan.manifests[name].sha256 for name in path.sources}
    rows = {name: plan.rows[name] for name in path.sources}
    book.start(origin, {"device": "cpu", "manifests": manifests, "rows": rows})
    return book


def attempt(plan: Plan, path: Path, origin: Origin, steps: float, ending: str, lag: int = 0) -> None:
    """lag: steps that a save is in flight, unless something waits for it."""
    stage = Stage(path.segments, {name: source_of(plan, name) for name in path.sources}, BATCH)
    book = recorder_of(plan, path, stage, origin)
    last = min(origin.step + steps, path.stop)
    pinned = plan.graph.branch_points(path.name)
    in_flight: int | None = None

    def publish(confirmed: bool = True) -> None:
        nonlocal in_flight
        if in_flight is not None:
            checkpoint = save(plan, path, stage, in_flight)
            if confirmed:
                book.checkpoint(checkpoint, in_flight in pinned)
        in_flight = None

    for step in range(origin.step + 1, int(last) + 1):
        book.step(step, 1.0, 0.1, None, 0.01)
        dies = step == last and ending == "published"  # between a publication and its record
        if in_flight is not None and step == in_flight + lag and not dies:
            publish()
        stops = (step == last and ending == "stop") or (dies and in_flight is None)
        if stops or step % plan.config.checkpoint.every_steps == 0 or step in pinned or step == path.stop:
            publish()
            book.before_save()
            in_flight = step
            if not dies and (stops or step == path.stop or lag == 0):
                publish()
    if ending == "published":
        publish(confirmed=False)
    if ending == "stop":
        book.stop("complete" if last == path.stop else "interrupted")
    if ending == "failure":
        book.__exit__(RuntimeError, RuntimeError("boom"), None)
        return
    book._close(0)
    if ending == "torn":
        newest = attempt_files(plan.layout.path(path.name).ledger)[-1]
        newest.write_bytes(newest.read_bytes() + b'{"counters":')


def source_of(plan: Plan, name: str) -> Source:
    return Source(
        plan.manifests[name],
        LocalFiles(FilePath("nowhere")),
        sequence_length=LENGTH,
        seed=plan.config.seed,
        rows=plan.rows[name],
    )


def train(
    plan: Plan, interruptions: Iterable[Interruption] = (), names: Iterable[str] | None = None, lag: int = 0
) -> FilePath:
    """Bring the paths of a plan to their end, with these interruptions on the way; the run directory."""
    endings: Iterator[tuple[float, str]] = chain(interruptions, repeat((math.inf, "stop")))
    for path in plan.graph.paths if names is None else [plan.graph.by_name[name] for name in names]:
        layout = plan.layout.path(path.name)
        layout.directory.mkdir(parents=True, exist_ok=True)
        atomic_write_json(layout.path_json, plan.identity(path))
        while (origin := origin_of(path, plan.layout)).step < path.stop:
            attempt(plan, path, origin, *next(endings), lag)
    return plan.layout.run_dir


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
    }
    every = {"path-switching": branches, "ptfs": {}, "cpt": {"mix": mix()}, "wsd-s": {"final_lr": 0.1}}
    return {name: every[name] for name in draw(st.lists(st.sampled_from(sorted(every)), min_size=1, unique=True))}


interruptions = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["stop", "kill", "failure", "torn", "published"])), max_size=12
)
few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


# Whatever happens to a run, what it writes is clean


@given(
    steps=st.lists(st.integers(5, 16), min_size=1, max_size=3),
    spare=st.integers(0, 1),
    paradigms=paradigms(),
    before=interruptions,
    after=interruptions,
    lag=st.integers(0, 5),
)
@few
def test_an_interrupted_and_grown_run_is_clean(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[int],
    spare: int,
    paradigms: dict[str, Any],
    before: list[Interruption],
    after: list[Interruption],
    lag: int,
) -> None:
    runs = tmp_path_factory.mktemp("runs")
    try:
        first, grown = (plan_of(runs, versions, paradigms, spare) for versions in (steps[:2], steps))
        assert first.graph.paths
        train(first, before, lag=lag)
        run_dir = train(grown, after, lag=lag)
    except (ConfigError, LineageError):
        assume(False)  # no room for the warm-up; a main path that has passed the fork of an older version
    audit = audit_run(run_dir)
    assert audit.differences == ()
    assert {lineage.path for lineage in audit.lineages} >= {path.name for path in grown.graph.paths}
    assert audit.tokens == audit.ledger_tokens == sum(path.steps for path in all_paths(grown)) * BATCH * LENGTH
    assert audit.rows * LENGTH == audit.tokens
    spent = [record.counters.steps for path in all_paths(grown) for record in last_records(grown, path.name)]
    assert audit.spare_steps == sum(spent) - audit.rows // BATCH
    shutil.rmtree(runs)


def all_paths(plan: Plan) -> list[Path]:
    """Every path of the run directory, also of the plan before it grew."""
    return list(Plan(plan.config, plan.increments, plan.manifests).existing.values())


def last_records(plan: Plan, name: str) -> list[Record]:
    files = attempt_files(plan.layout.path(name).ledger)
    return [list(read_attempt(file))[-1] for file in files]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A run of three paradigms over three versions with replay, some of its attempts interrupted."""
    plan = plan_of(tmp_path_factory.mktemp("clean"), [10, 12, 11], PARADIGMS)
    train(
        plan, [(3, "stop"), (6, "kill"), (9, "stop"), (2, "failure"), (5, "published"), (4, "torn"), (0, "kill")], lag=1
    )
    return plan


@pytest.fixture
def run(clean: Plan, tmp_path: FilePath) -> FilePath:
    """A copy of the clean run that a test may change."""
    shutil.copytree(clean.layout.run_dir, tmp_path / "run")
    return tmp_path / "run"


def test_a_clean_run(run: FilePath) -> None:
    audit = audit_run(run)
    assert audit.ok
    assert audit.spare_steps > 0, "some steps were lost and trained again"
    assert audit.checkpoints > 10
    (branch,) = (lineage for lineage in audit.lineages if lineage.path == "branch-v2")
    assert [(leg.path, leg.start, leg.stop) for leg in branch.legs] == [("main", 0, 15), ("branch-v2", 15, 22)]
    # Of 14 rows of the branch 4 are replay: the one row of v1 that was left over, and 3 of its next epoch.
    assert [(use.source, use.epoch, use.rows, use.left_over_rows) for use in branch.uses] == [
        ("v1", 0, 21, 0),
        ("v1", 1, 3, 18),
        ("v2", 0, 20, 5),
    ]


def test_whole_begins_a_later_epoch_by_plan(tmp_path: FilePath) -> None:
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"branch_data": "whole"}})
    audit = audit_run(train(plan))
    assert audit.ok
    (branch,) = (lineage for lineage in audit.lineages if lineage.path == "branch-v2")
    assert [(use.epoch, use.rows, use.later_epoch_begun) for use in branch.uses if use.source == "v2"] == [
        (0, 10, True),
        (1, 14, False),
    ]


def test_a_run_under_way_is_audited_as_far_as_it_is_saved(tmp_path: FilePath) -> None:
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
    assert audit.spare_steps == 2, "the ledger heard of step 6 last"
    assert sum(use.rows for use in audit.lineages[1].uses) == 4 * BATCH, "the mixture, cut at step 4"


def test_earlier_states_may_be_evaluated_late(run: FilePath, clean: Plan) -> None:
    plan = replace(clean, config=clean.config.model_copy(update={"runs": run.parent, "name": "run"}))
    path = plan.graph.by_name["main"]
    stage = Stage(path.segments, {name: source_of(plan, name) for name in path.sources}, BATCH)
    book = recorder_of(plan, path, stage, origin_of(path, plan.layout))
    result = {"loss": 2.0, "bits_per_byte": 3.0, "rows": 1, "tokens": 5, "manifest_sha256": "m"}
    book.evaluation(plan.graph.branch_points("main")[0], {"v3": result})
    book.stop("complete")
    book._close(0)
    assert audit_run(run).ok


def test_an_attempt_that_saved_nothing_does_not_count(tmp_path: FilePath) -> None:
    """A path that never saved anything may become another one; what it spent is waste."""
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"alpha": 0.6}})
    train(plan, names=["main"])
    other = plan_of(tmp_path, [10, 12], {"path-switching": {"alpha": 0.5}})
    branch = other.graph.by_name["branch-v1"]
    attempt(other, branch, Origin("fork", branch.start, None), 2, "kill")
    audit = audit_run(train(plan))
    assert audit.ok
    assert audit.spare_steps == 1, "the ledger heard of step 6, the second, and of no later one"


# Every fault is found, and named


def edit(file: FilePath, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(file.read_text())
    change(values)
    atomic_write_json(file, values)


def forge(checkpoint: Checkpoint, change: Callable[[dict[str, Any]], None]) -> None:
    """The same checkpoint with another identity, as if it had been published so."""
    temporary = begin(checkpoint.directory.parent, checkpoint.step)
    for name in checkpoint.manifest["files"]:
        shutil.copyfile(checkpoint.directory / name, temporary / name)
    identity = json.loads(json.dumps(checkpoint.identity))
    change(identity)
    publish(temporary, checkpoint.step, checkpoint.manifest["files"], identity)


def rewrite(ledger: FilePath, change: Callable[[int, Record], Record | None]) -> None:
    """A ledger with other records and right hashes. change: (attempt, record) -> record, or None to leave it out."""
    attempts = [list(read_attempt(file)) for file in attempt_files(ledger)]
    shutil.rmtree(ledger)
    for number, records in enumerate(attempts):
        kept = [changed for record in records if (changed := change(number, record)) is not None]
        if kept:
            writer = LedgerWriter(ledger)
            for record in kept:
                writer.append(record.kind, record.step, record.counters, **record.facts)
            writer.close()


def moved(record: Record, steps: int) -> Record:
    saved = {"saved_step": record.saved_step + steps} if "saved_step" in record.facts else {}
    return record._replace(step=record.step + steps, facts={**record.facts, **saved})


def resumed_attempt(run: FilePath) -> tuple[PathLayout, int]:
    """A path and the number of an attempt of it that went on from a saved step."""
    for directory in sorted(run.iterdir()):
        for number, file in enumerate(attempt_files(PathLayout(directory).ledger)):
            records = list(read_attempt(file))
            if number and records and records[0].facts["origin"] == "resume" and records[-1].counters.steps:
                return PathLayout(directory), number
    raise AssertionError("no attempt of this run was resumed")


def position_off(run: FilePath) -> str:
    forge(find(PathLayout(run / "main"), 15), lambda identity: identity["positions"].update(v2=11))
    return r"main at step 15, v2: the checkpoint's position .* expected 10, found 11 .*main/branch_points/step-00000015"


def position_missing(run: FilePath) -> str:
    forge(find(PathLayout(run / "main"), 15), lambda identity: identity["positions"].pop("v1"))
    return r"main at step 15, v1: the checkpoint's position .* expected 20, found None"


def tokens_off(run: FilePath) -> str:
    forge(find(PathLayout(run / "main"), 15), lambda identity: identity.update(tokens=241))
    return r"main at step 15: the checkpoint's `tokens` .* expected 240, found 241"


def checkpoint_changed(run: FilePath) -> str:
    file = find(PathLayout(run / "main"), 15).directory / "manifest.json"
    text = file.read_text()
    file.unlink()
    file.write_text(text.replace('"tokens": 240', '"tokens": 241'))
    return r"main: the checkpoint is incomplete or was changed .*step-00000015"


def foreign_checkpoint(run: FilePath) -> str:
    theirs = find(PathLayout(run / "ptfs-v3"), 33).directory
    shutil.copytree(theirs, run / "branch-v3" / "checkpoints" / theirs.name, dirs_exist_ok=True)
    return r"branch-v3 at step 33: the checkpoint's `path` .* expected branch-v3, found ptfs-v3"


def unknown_checkpoint(run: FilePath) -> str:
    layout = PathLayout(run / "main")
    temporary = begin(layout.checkpoints, 14)
    publish(temporary, 14, {}, {**find(layout, 15).identity, "tokens": 224, "positions": {"v1": 20, "v2": 8}})
    return r"main at step 14: the ledger knows nothing of this checkpoint: expected one of .*, found 14"


def fork_moved(run: FilePath) -> str:
    def move(values: dict[str, Any]) -> None:
        path = values["path"]
        path["start"], path["stop"], path["parent"]["step"] = path["start"] + 1, path["stop"] + 1, path["start"] + 1

    edit(run / "branch-v2" / "path.json", move)
    return r"branch-v2 at step 15: .* begins at a state that no earlier one saved.*expected 16, found 15"


def fork_never_saved(run: FilePath) -> str:
    rewrite(
        run / "main" / "ledger",
        lambda _, record: (
            record if record.kind not in ("checkpoint", "branch-point") or record.saved_step != 15 else None
        ),
    )
    return r"main at step 15: the ledger knows nothing of this checkpoint|forked from main at a step that was never"


def parent_gone(run: FilePath) -> str:
    shutil.rmtree(run / "main")
    return r"branch-v\d at step \d+: its parent is not in the run: expected main"


def path_unreadable(run: FilePath) -> str:
    (run / "main" / "path.json").write_text("{")
    return r"main: cannot be read as a path .*main/path\.json"


def attempt_too_late(run: FilePath) -> str:
    layout, late = resumed_attempt(run)
    rewrite(layout.ledger, lambda number, record: moved(record, 30) if number >= late else record)
    return r"begins at a state that no earlier one saved: the steps before it were left out: expected (\d+), found \d+"


def attempt_gone(run: FilePath) -> str:
    layout, late = resumed_attempt(run)
    rewrite(layout.ledger, lambda number, record: record if number >= late else None)
    return r"begins at a state that no earlier one saved"


def ledger_tokens_off(run: FilePath) -> str:
    def more(_: int, record: Record) -> Record:
        return record._replace(counters=replace(record.counters, tokens=record.counters.tokens + 1))

    rewrite(run / "ptfs-v3" / "ledger", more)
    return r"ptfs-v3 at step 0: the ledger's tokens are not its 0 steps of 16: expected 0, found 1 .*ledger/000\.jsonl"


def ledger_step_skipped(run: FilePath) -> str:
    rewrite(run / "ptfs-v3" / "ledger", lambda _, r: moved(r, 1) if r.kind == "heartbeat" and r.step >= 9 else r)
    return r"ptfs-v3 at step \d+: a record of \d+ steps from step \d+ stands at another step"


def ledger_saved_the_unheard(run: FilePath) -> str:
    def unheard(_: int, record: Record) -> Record:
        earlier = {"saved_step": record.saved_step - 1} if record.kind == "checkpoint" else {}
        return record._replace(facts={**record.facts, **earlier})

    rewrite(run / "ptfs-v3" / "ledger", unheard)
    return r"ptfs-v3 at step 9: the ledger says that a state was saved that it never heard of: expected .*8.*, found 7"


def ledger_line_changed(run: FilePath) -> str:
    file = attempt_files(run / "ptfs-v3" / "ledger")[0]
    file.write_bytes(file.read_bytes().replace(b'"loss":1.0', b'"loss":0.9', 1))
    return r"ptfs-v3: .*000\.jsonl:\d+: this line, or one before it, was changed"


def ledger_of_another_manifest(run: FilePath) -> str:
    def other(_: int, record: Record) -> Record:
        named = record.facts.get("manifests", {})
        return record._replace(facts={**record.facts, "manifests": named | {"v1": "f" * 64}} if named else record.facts)

    rewrite(run / "ptfs-v3" / "ledger", other)
    return r"ptfs-v3 at step 0, v1: .* a source whose `manifests` are not the path's: expected \w+, found f{64}"


def ledger_of_another_initial_state(run: FilePath) -> str:
    def other(_: int, record: Record) -> Record:
        started = record.kind == "start"
        return record._replace(facts={**record.facts, "initial_state": "e" * 64} if started else record.facts)

    rewrite(run / "main" / "ledger", other)
    return r"main at step 0: the ledger's `initial_state` is not the path's: expected None, found e{64}"


def ledger_of_other_rows(run: FilePath) -> str:
    def other(_: int, record: Record) -> Record:
        rows = record.facts.get("rows", {})
        return record._replace(facts={**record.facts, "rows": rows | {"v2": 7}} if rows else record.facts)

    rewrite(run / "ptfs-v3" / "ledger", other)
    return r"ptfs-v3 at step 0, v2: .* a source whose `rows` are not the path's: expected \d+, found 7"


def shifted(source: str, by: int) -> Callable[[dict[str, Any]], None]:
    def shift(values: dict[str, Any]) -> None:
        for part in (part for segment in values["path"]["segments"] for part in segment["parts"]):
            part["from_row"] += by * (part["source"] == source)

    return shift


def without_checkpoints(directory: FilePath) -> None:
    """The plan was wrong from the start: nothing that was saved could contradict it."""
    shutil.rmtree(directory / "checkpoints")
    shutil.rmtree(directory / "branch_points")


def used_twice(run: FilePath) -> str:
    edit(run / "branch-v2" / "path.json", shifted("v2", -3))
    without_checkpoints(run / "branch-v2")
    return r"branch-v2 at step 15, v2: 3 rows used twice in epoch 0: .* expected 10, found 7 .*branch-v2/path\.json"


def left_out(run: FilePath) -> str:
    edit(run / "branch-v2" / "path.json", shifted("v2", 3))
    without_checkpoints(run / "branch-v2")
    return r"branch-v2 at step 15, v2: 3 rows left out in epoch 0: .* expected 10, found 13"


def another_manifest(run: FilePath) -> str:
    edit(run / "branch-v2" / "path.json", lambda values: values["sources"]["v1"].update(manifest_sha256="e" * 64))
    return r"branch-v2 at step 15, v1: the attempt read a source whose `manifests` are not the path's"


def rows_everywhere(run: FilePath, path: str, rows: int) -> None:
    """As if the path had been trained on so many rows of v1."""

    def other(_: int, record: Record) -> Record:
        known = record.facts.get("rows", {})
        return record._replace(facts={**record.facts, "rows": known | {"v1": rows}} if known else record.facts)

    rewrite(run / path / "ledger", other)
    edit(run / path / "path.json", lambda values: values["sources"]["v1"].update(rows=rows))


def another_epoch(run: FilePath) -> str:
    rows_everywhere(run, "branch-v2", 22)
    return r"branch-v2 at step 15, v1: the source has another manifest or other rows than in main: .*'rows': 21.*22"


def no_rows_known(run: FilePath) -> str:
    rows_everywhere(run, "ptfs-v3", 0)
    return r"ptfs-v3 at step 0, v1: the path reads a source of which it does not say how many rows it has"


def another_batch(run: FilePath) -> str:
    edit(run / "ptfs-v3" / "path.json", lambda values: values["training"].update(batch_sequences=4))
    return r"ptfs-v3 at step 0: the ledger's `tokens_per_step` is not the path's: expected 32, found 16"


def another_seed(run: FilePath) -> str:
    edit(run / "branch-v2" / "path.json", lambda values: values["training"].update(seed=8))
    return r"branch-v2 at step \d+: the checkpoint's `training_sha256` is not what path.json gives"


def another_row_order(run: FilePath) -> str:
    edit(run / "main" / "path.json", lambda values: values["training"].update(row_order=["older", "older"]))
    return r"main: its rows were read in another order than this lrps knows"


FAULTS: list[Callable[[FilePath], str]] = [
    *(position_off, position_missing, tokens_off, checkpoint_changed, foreign_checkpoint, unknown_checkpoint),
    *(fork_moved, fork_never_saved, parent_gone, path_unreadable, attempt_too_late, attempt_gone),
    *(ledger_tokens_off, ledger_step_skipped, ledger_saved_the_unheard, ledger_line_changed),
    *(ledger_of_another_manifest, ledger_of_another_initial_state, ledger_of_other_rows),
    *(used_twice, left_out, another_manifest, another_epoch, no_rows_known, another_batch, another_seed),
    another_row_order,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found_and_named(run: FilePath, fault: Callable[[FilePath], str]) -> None:
    told = fault(run)
    audit = audit_run(run)
    assert not audit.ok
    assert re.search(told, str(audit.differences[0]), re.DOTALL), str(audit.differences[0])


# One random change to a clean run never goes unnoticed


def a_checkpoint(draw: st.DrawFn, run: FilePath) -> Checkpoint:
    places = sorted(run.glob("*/checkpoints")) + sorted(run.glob("*/branch_points"))
    return draw(st.sampled_from([checkpoint for place in places for checkpoint in complete_checkpoints(place)]))


def a_path(draw: st.DrawFn, run: FilePath) -> FilePath:
    return draw(st.sampled_from(sorted(run.iterdir())))


def other_position(draw: st.DrawFn, run: FilePath) -> None:
    checkpoint, by = a_checkpoint(draw, run), draw(st.integers(1, 40))
    source = draw(st.sampled_from(sorted(checkpoint.identity["positions"])))
    old = checkpoint.identity["positions"][source]
    forge(checkpoint, lambda identity: identity["positions"].update({source: old + by}))


def other_tokens(draw: st.DrawFn, run: FilePath) -> None:
    by = draw(st.integers(-500, 500).filter(bool))
    forge(a_checkpoint(draw, run), lambda identity: identity.update(tokens=identity["tokens"] + by))


def other_rows_of_a_part(draw: st.DrawFn, run: FilePath) -> None:
    by, which = draw(st.integers(1, 40)), draw(st.integers(0, 100))

    def shift(values: dict[str, Any]) -> None:
        parts = [part for segment in values["path"]["segments"] for part in segment["parts"]]
        parts[which % len(parts)]["from_row"] += by

    edit(a_path(draw, run) / "path.json", shift)


def other_share_of_a_part(draw: st.DrawFn, run: FilePath) -> None:
    by, which = draw(st.integers(1, 40)), draw(st.integers(0, 100))

    def grow(values: dict[str, Any]) -> None:
        parts = [part for segment in values["path"]["segments"] for part in segment["parts"]]
        parts[which % len(parts)]["rows"] += by

    edit(a_path(draw, run) / "path.json", grow)


def other_source(draw: st.DrawFn, run: FilePath) -> None:
    file = a_path(draw, run) / "path.json"
    name = draw(st.sampled_from(sorted(json.loads(file.read_text())["sources"])))
    edit(file, lambda values: values["sources"][name].update(manifest_sha256="e" * 64))


def other_counter(draw: st.DrawFn, run: FilePath) -> None:
    ledger, by = a_path(draw, run) / "ledger", draw(st.integers(-300, 300).filter(bool))
    chosen = draw(st.sampled_from(list(read_ledger(ledger))))

    def count(_: int, record: Record) -> Record:
        more = replace(record.counters, tokens=record.counters.tokens + by)
        return record._replace(counters=more) if record.sha256 == chosen.sha256 else record

    rewrite(ledger, count)


def other_step(draw: st.DrawFn, run: FilePath) -> None:
    ledger, by = a_path(draw, run) / "ledger", draw(st.integers(-20, 20).filter(bool))
    records = [record for record in read_ledger(ledger) if record.kind in ("start", "heartbeat", "checkpoint")]
    # Whatever an attempt that never saved anything says of its start is waste, not the lineage's.
    chosen = draw(st.sampled_from(records[1:]))
    rewrite(ledger, lambda _, record: moved(record, by) if record.sha256 == chosen.sha256 else record)


def attempt_left_out(draw: st.DrawFn, run: FilePath) -> None:
    ledger = a_path(draw, run) / "ledger"
    saved = [
        n for n, file in enumerate(attempt_files(ledger)) if any(r.kind == "checkpoint" for r in read_attempt(file))
    ]
    chosen = draw(st.sampled_from(saved))
    rewrite(ledger, lambda number, record: None if number == chosen else record)


def other_byte(draw: st.DrawFn, run: FilePath) -> None:
    file = draw(st.sampled_from([*attempt_files(a_path(draw, run) / "ledger")]))
    data = bytearray(file.read_bytes())
    data[draw(st.integers(0, data.index(b"\n") - 1))] ^= 1
    file.write_bytes(data)


def other_byte_of_a_checkpoint(draw: st.DrawFn, run: FilePath) -> None:
    file = a_checkpoint(draw, run).directory / "manifest.json"
    data = bytearray(file.read_bytes())
    data[draw(st.integers(0, len(data) - 1))] ^= 1
    file.unlink()
    file.write_bytes(data)


CORRUPTIONS = [
    *(other_position, other_tokens, other_rows_of_a_part, other_share_of_a_part, other_source),
    *(other_counter, other_step, attempt_left_out, other_byte, other_byte_of_a_checkpoint),
]


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
@given(data=st.data())
@few
def test_one_random_corruption_is_never_clean(
    clean: Plan,
    tmp_path_factory: pytest.TempPathFactory,
    corrupt: Callable[[st.DrawFn, FilePath], None],
    data: st.DataObject,
) -> None:
    run = tmp_path_factory.mktemp("corrupt") / "run"
    shutil.copytree(clean.layout.run_dir, run)
    corrupt(data.draw, run)
    assert not audit_run(run).ok
    shutil.rmtree(run.parent)


# Row by row


@pytest.fixture
def data_root(clean: Plan, tmp_path: FilePath) -> FilePath:
    for name, values in clean.manifests.items():
        file = manifest_path(tmp_path / "data", name, "train")
        file.parent.mkdir(parents=True)
        save_manifest(values, file)
    return tmp_path / "data"


def test_every_row_is_worked_out(clean: Plan, data_root: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrps.audit.rows.CHUNK_ROWS", 7)
    seen: list[tuple[int, int]] = []
    audit = audit_run(clean.layout.run_dir, data_root, lambda done, total: seen.append((done, total)))
    assert audit.ok
    longest: dict[tuple[str, int], int] = {}
    for use in (use for lineage in audit.lineages for use in lineage.uses):
        longest[use.source, use.epoch] = max(use.rows, longest.get((use.source, use.epoch), 0))
    assert audit.recomputed_rows == sum(longest.values())
    assert seen[-1][0] == seen[-1][1]


def test_another_manifest_is_told(clean: Plan, data_root: FilePath) -> None:
    file = manifest_path(data_root, "v1", "train")
    save_manifest(manifest("v1", 30), file)
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert (difference.source, difference.file) == ("v1", file)
    assert difference.expected == clean.manifests["v1"].sha256
    file.unlink()
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert "there is no such manifest" in difference.what


def test_an_order_that_gives_a_row_twice_is_told(
    clean: Plan, data_root: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrps.audit.rows.CHUNK_ROWS", 8)
    monkeypatch.setattr(Order, "__call__", lambda self, positions: np.asarray(positions) % self.rows % 12)
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert "position 12 gives a row that is not the source's, or was given before" in difference.what
    monkeypatch.setattr(Order, "__call__", lambda self, positions: np.asarray(positions) + 9)
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert "position 12 gives" in difference.what, "row 21 of 21"


def test_a_mixture_that_deals_out_of_order_is_told(
    clean: Plan, data_root: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lrps.data.mixture import Mixture

    assign = Mixture.assign
    monkeypatch.setattr(Mixture, "assign", lambda self, t: (assign(self, t)[0], assign(self, t)[1][::-1]))
    (difference,) = audit_run(clean.layout.run_dir, data_root).differences
    assert "the mixture does not deal rows" in difference.what


# What people see


def test_the_document_and_its_tables(run: FilePath, capsys: pytest.CaptureFixture[str]) -> None:
    document = audit_document(audit_run(run))
    assert document["ok"]
    assert document["first_difference"] is None
    assert document["tokens"] == document["rows"] * LENGTH
    assert json.loads(json.dumps(document)) == document
    print_audit(document)
    shown = capsys.readouterr().out
    assert "branch-v2: 352 tokens (main to step 15, branch-v2 to step 22)" in shown
    assert re.search(r"v2 +0 +20 +25 +80\.0% +160 +5", shown)
    assert re.search(
        r"No row twice, none left out; [\d,]+ tokens = the ledger's, \d+ checkpoints agree; \d+ steps", shown
    )


def test_the_first_difference_is_shown(run: FilePath, capsys: pytest.CaptureFixture[str]) -> None:
    told = position_off(run)
    document = audit_document(audit_run(run))
    first = document["first_difference"]
    assert (first["path"], first["step"], first["source"], first["expected"], first["found"]) == (
        "main",
        15,
        "v2",
        10,
        11,
    )
    assert first["file"].endswith("main/branch_points/step-00000015/manifest.json")
    print_audit(document)
    assert re.search("NOT PROVED: " + told, capsys.readouterr().out)


def lrps(*arguments: str | FilePath) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lrps.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_the_verb(run: FilePath, data_root: FilePath, tmp_path: FilePath) -> None:
    done = lrps("data", "audit", run, "--json", "--rows", "--data", data_root)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"]
    assert document["recomputed_rows"] > 0

    done = lrps("data", "audit", run, "--rows")
    assert (done.returncode, "--data DIR" in done.stderr) == (2, True)
    done = lrps("data", "audit", tmp_path)
    assert done.returncode == 2
    assert "holds no path" in done.stderr
    tokens_off(run)
    done = lrps("data", "audit", run)
    assert done.returncode == 2
    assert "NOT PROVED: main at step 15" in done.stdout


# Real runs


@pytest.mark.slow
def test_a_real_run_interrupted_and_resumed_is_clean(tiny_config: FilePath, tmp_path: FilePath) -> None:
    """Path switching and CPT with replay, stopped by a signal, killed, and brought to an end."""
    mix = {"new": 0.7, "replay": 0.3}
    paradigms = {"path-switching": {"alpha": 0.6, "mix": mix}, "cpt": {"mix": mix}}
    changes = {"runs": str(tmp_path / "runs"), "launch": {"processes": 1}, "paradigms": paradigms}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tiny_values(tiny_config.parent, versions=2, **changes), sort_keys=False))
    metrics = PathLayout(tmp_path / "runs" / "tiny" / "main").metrics
    for steps, number in ((3, signal.SIGINT), (12, signal.SIGKILL)):
        command = [sys.executable, "-m", "lrps.cli", "run", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 120
            while len(read_metrics(metrics)) < steps:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "training did not begin"
                time.sleep(0.01)
            stop(process, file, number)
            process.communicate(timeout=120)
        assert lrps("data", "audit", file).returncode == 0, "a run under way is clean as far as it is saved"
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


def stop(process: subprocess.Popen[str], file: FilePath, number: signal.Signals) -> None:
    """Ask the launcher to stop, or kill the process that trains."""
    if number != signal.SIGKILL:
        process.send_signal(number)
        return
    for worker in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if {"train", str(file)} <= set(worker.cmdline()):
                worker.kill()
