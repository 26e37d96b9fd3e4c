"""Runs without training, with real plans, writers and interruptions, and functions that forge their files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from lrps.base.files import atomic_write_json
from lrps.config.models import Config
from lrps.data.manifest import FORMAT, Blocks, Manifest, Shard, TokenizerIdentity
from lrps.data.open_source import open_source
from lrps.data.stream import PathData, Source
from lrps.ledger.reader import read_attempt
from lrps.ledger.records import Record, attempt_files
from lrps.ledger.writer import LedgerWriter
from lrps.paths.amendments import GENERATION, generation
from lrps.paths.graph import TrainingPath
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.part_share import PartShare, PartSize, share_parts
from lrps.paths.path_digest import PATH_DIGEST, lineage_digest
from lrps.plan.origin import Origin, origin_of
from lrps.plan.plan import Plan
from lrps.store.checkpoints import Checkpoint, begin, find, fsync_and_hash, pin, publish
from lrps.store.kept_checkpoints import prune_checkpoints
from lrps.store.layout import PathLayout
from lrps.track.console import TrainingConsole
from lrps.train.account import DeviceClock, Rate, open_account, usage_until
from lrps.train.recorder import Recorder
from support.values import config_values

LENGTH, BATCH = 8, 2
Interruption = tuple[int, str]
"""(number of steps after which an attempt ends, stop | kill | failure | torn | published)."""

PARADIGMS: dict[str, Any] = {
    "path-switching": {"alpha": 0.6, "mix": {"new": 0.7, "replay": 0.3}},
    "ptfs": {},
    "cpt": {"mix": {"new": 0.75, "replay": 0.25}},
}


PARTS = {"a": {"weight": 2}, "b": {"weight": 1, "epochs": 4}}


def manifest(name: str, rows: int) -> Manifest:
    blocks = Blocks(name, "train")
    blocks.append(512, rows * LENGTH, 0)
    shard = Shard(f"{name}.tar", f"{name}.tar", 512 + 2 * rows * LENGTH, "0" * 64, rows * LENGTH, range(1))
    tokenizer = TokenizerIdentity("none", "0" * 64, 257, 256)
    return Manifest(FORMAT, name, "train", "uint16", rows * LENGTH, 1, 1, tokenizer, {}, (shard,), blocks)


def plan_of(
    runs: Path,
    steps: list[int],
    paradigms: dict[str, Any],
    spare: int = 1,
    epochs: Fraction = Fraction(1),
    mixed: bool = False,
) -> Plan:
    """Return a plan of versions v1, v2 and so on of these numbers of steps an epoch, and a rehearsal set of 17 rows.

    A step has 2 rows of 8 tokens, and every version has `spare` rows more and this number of epochs. mixed: every
    version consists of parts a and b at weights 2 and 1; a has rows that are left over, and b is read about 2.5 times.
    """
    increments = tuple(Increment.of(f"v{k}", BATCH * n + spare, BATCH, epochs) for k, n in enumerate(steps, 1))
    data = {
        "root": "nowhere",
        "sequence_length": LENGTH,
        "versions": [{"name": i.version, **({"mixture": PARTS} if mixed else {})} for i in increments],
        "rehearsal": [{"name": "r1", "since": "v1"}],
    }
    values = config_values(runs=str(runs), data=data, paradigms=paradigms, schedule={"peak_lr": 1.0, "warmup_steps": 2})
    config = Config.model_validate({**values, "checkpoint": {"every_steps": 4}, "track": {"log_every_steps": 3}})
    mixtures = {i.version: _shares(i) for i in increments} if mixed else {}
    sizes = {i.version: i.rows for i in increments if not mixed} | {"r1": 17}
    sizes |= {share.name: share.rows for shares in mixtures.values() for share in shares}
    manifests = {name: manifest(name, rows) for name, rows in sizes.items()}
    return Plan(config, increments, manifests, (RehearsalSet("r1", 17, since="v1"),), mixtures)


def _shares(increment: Increment) -> tuple[PartShare, ...]:
    rows = increment.rows
    a = PartSize(f"{increment.version}.a", Fraction(2), rows)
    b = PartSize(f"{increment.version}.b", Fraction(1), rows // 8 + 1, Fraction(4))
    return share_parts(increment.version, [a, b], rows)


def save(plan: Plan, path: TrainingPath, stage: PathData, step: int) -> Checkpoint:
    """Save a state of one byte as the trainer does on rank 0."""
    layout = plan.layout.path(path.name)
    temporary = begin(layout.checkpoints, step)
    (temporary / "state.bin").write_bytes(b"x")
    identity = {
        "plan": plan.config.name,
        "path": path.name,
        "training_sha256": plan.training_sha256,
        PATH_DIGEST: lineage_digest(plan.graph.lineage(path), step).to_json(),
        "tokens": step * plan.config.tokens_per_step,
        "positions": stage.positions(step - path.start),
        **({GENERATION: history} if (history := generation(path.amendments, step)) else {}),
    }
    checkpoint = publish(temporary, step, {"state.bin": fsync_and_hash(temporary / "state.bin")}, identity)
    if step in plan.graph.branch_points(path.name):
        pin(checkpoint, layout.branch_points)
    prune_checkpoints(layout.checkpoints, 1 if step == path.stop else 2)
    return checkpoint


def recorder_of(plan: Plan, path: TrainingPath, stage: PathData, origin: Origin) -> Recorder:
    layout, every = plan.layout.path(path.name), plan.config.track.log_every_steps
    rate = Rate(plan.config.tokens_per_step, plan.costs.flops_per_token, processes=2)
    usage = usage_until(plan, path, stage)
    account = open_account(path, layout.ledger, rate, DeviceClock(), usage)
    book = Recorder(path, layout, TrainingConsole(1, quiet=True), account, log_every_steps=every)
    manifests = {name: plan.sources[name].sha256 for name in path.sources}
    rows = {name: plan.rows[name] for name in path.sources}
    digest = lineage_digest(plan.graph.lineage(path), origin.step).to_json()
    book.start(origin, {"device": "cpu", "manifests": manifests, "rows": rows, PATH_DIGEST: digest})
    return book


def attempt(plan: Plan, path: TrainingPath, origin: Origin, steps: float, ending: str, lag: int = 0) -> None:
    """Write one attempt. lag: number of steps that a save is in flight, unless something waits for it."""
    stage = PathData(path.segments, {name: source_of(plan, name) for name in path.sources}, BATCH)
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
        dies = step == last and ending == "published"  # It dies between the publication and its record.
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
    return open_source(plan.sources[name], plan.config.data, seed=plan.config.seed)


def train(
    plan: Plan, interruptions: Iterable[Interruption] = (), names: Iterable[str] | None = None, lag: int = 0
) -> Path:
    """Complete the paths of a plan, with these interruptions, and return the run directory."""
    endings: Iterator[tuple[float, str]] = chain(interruptions, repeat((math.inf, "stop")))
    for path in plan.graph.paths if names is None else [plan.graph.by_name[name] for name in names]:
        layout = plan.layout.path(path.name)
        layout.directory.mkdir(parents=True, exist_ok=True)
        atomic_write_json(layout.path_json, plan.identity(path))
        while (origin := origin_of(path, plan.layout)).step < path.stop:
            attempt(plan, path, origin, *next(endings), lag)
    return plan.layout.run_dir


few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def all_paths(plan: Plan) -> list[TrainingPath]:
    """Return every path of the run directory, including those of the plan before it grew."""
    return list(Plan(plan.config, plan.increments, plan.manifests).existing.values())


def last_records(plan: Plan, name: str) -> list[Record]:
    files = attempt_files(plan.layout.path(name).ledger)
    return [list(read_attempt(file))[-1] for file in files]


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(file.read_text())
    change(values)
    atomic_write_json(file, values)


def forge(checkpoint: Checkpoint, change: Callable[[dict[str, Any]], None]) -> None:
    """Replace a checkpoint by one with another identity, published as the real ones are."""
    temporary = begin(checkpoint.directory.parent, checkpoint.step)
    for name in checkpoint.manifest["files"]:
        shutil.copyfile(checkpoint.directory / name, temporary / name)
    identity = json.loads(json.dumps(checkpoint.identity))
    change(identity)
    publish(temporary, checkpoint.step, checkpoint.manifest["files"], identity)


def rewrite(ledger: Path, change: Callable[[int, Record], Record | None]) -> None:
    """Replace the records of a ledger, with valid hashes. change: (attempt, record) -> record, or None to remove it."""
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


def resumed_attempt(run: Path) -> tuple[PathLayout, int]:
    """Return a path, and the number of an attempt of it that resumed from a saved step."""
    for directory in sorted(run.iterdir()):
        for number, file in enumerate(attempt_files(PathLayout(directory).ledger)):
            records = list(read_attempt(file))
            if number and records and records[0].facts["origin"] == "resume" and records[-1].counters.steps:
                return PathLayout(directory), number
    raise AssertionError("no attempt of this run was resumed")


def position_off(run: Path) -> str:
    forge(find(PathLayout(run / "main"), 15), lambda identity: identity["positions"].update(v2=11))
    return r"main at step 15, v2: the checkpoint's position .* expected 10, found 11 .*main/branch_points/step-00000015"


def tokens_off(run: Path) -> str:
    forge(find(PathLayout(run / "main"), 15), lambda identity: identity.update(tokens=241))
    return r"main at step 15: the checkpoint's `tokens` .* expected 240, found 241"
