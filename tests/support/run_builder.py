"""Builder of runs without training, in milliseconds: real path.json files, checkpoints, pins and ledgers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lrps.base.files import atomic_write_json
from lrps.config.models import Config
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.plan.plan import Plan, make_plan
from lrps.store import checkpoints
from lrps.store.checkpoints import Checkpoint, pin
from lrps.store.segments import FileSegment, merged_entries
from support.first_format import with_first_manifest
from support.values import config_values

SIZE = 20_000
"""Number of bytes of the large file of a checkpoint."""


def small_plan(root: Path, name: str = "small", seed: int = 7) -> Plan:
    """Return a plan whose main path has 340 steps, and whose branches fork after 40, 140, 240 and 340 steps."""
    values = config_values(name=name, seed=seed, runs=str(root), checkpoint={"every_steps": 10, "keep_last": 2})
    return make_plan(Config.model_validate(values))


def save(plan: Plan, name: str, step: int, content: bytes | None = None, pinned: bool = False) -> Checkpoint:
    """Write a checkpoint of a path with two files; without `content` every step has different bytes.

    Two ranks have written the first one. Every second state is in the first format of checkpoints.
    """
    layout = plan.layout.path(name)
    temporary = checkpoints.begin(layout.checkpoints, step)
    data = content or f"{name} {step} ".encode() * (SIZE // 10)
    (temporary / "weights.safetensors").write_bytes(data[:SIZE])
    (temporary / "state.json").write_text(json.dumps({"path": name, "step": step, "of": len(data)}))
    cut = min(SIZE, len(data)) // 3
    segments = [
        FileSegment("weights.safetensors", start, len(part), hashlib.sha256(part).hexdigest(), rank)
        for rank, (start, part) in enumerate(((0, data[:cut]), (cut, data[cut:SIZE])))
    ]
    files = merged_entries(segments) | {"state.json": checkpoints.fsync_and_hash(temporary / "state.json")}
    saved = checkpoints.publish(temporary, step, files, {"path": name, "step": step})
    if step % 20:
        saved = with_first_manifest(saved)
    if pinned:
        pin(saved, layout.branch_points)
    return saved


def attempt(plan: Plan, name: str, first: int, last: int, saved: tuple[int, ...] = (), closed: bool = True) -> None:
    """Write the ledger of one attempt at a path: steps first + 1 to last, and the checkpoints among them."""
    layout, path = plan.layout.path(name), plan.graph.by_name[name]
    layout.directory.mkdir(parents=True, exist_ok=True)
    atomic_write_json(layout.path_json, plan.identity(path))
    ledger, counters = LedgerWriter(layout.ledger), Counters()
    ledger.append("start", first, counters, format=FORMAT, path=name, path_start=path.start, device="cpu", processes=1)
    with open(layout.metrics, "a") as metrics:
        for step in range(first + 1, last + 1):
            counters.steps += 1
            ledger.append("heartbeat", step, counters, loss=2.0)
            metrics.write(json.dumps({"step": step, "loss": 2.0}) + "\n")
            if step in saved:
                ledger.append("checkpoint", step, counters, saved_step=step)
    if closed:
        ledger.append("stop", last, counters, outcome="complete")
    ledger.close()


def small_run(root: Path, name: str = "small") -> Plan:
    """Write a run and return its plan.

    The main path has checkpoints of steps 30, 40 (pinned), 50 and 60. The branch of version 1 is complete and exported.
    """
    plan = small_plan(root, name)
    attempt(plan, "main", 0, 60, (30, 40, 50, 60))
    for step in (30, 40, 50, 60):
        save(plan, "main", step, pinned=step == 40)
    attempt(plan, "branch-v1", 40, 100, (100,))
    save(plan, "branch-v1", 100, pinned=True)
    release(plan, "branch-v1", b"a model")
    atomic_write_json(plan.layout.plan_json, {"config": {"name": name}})
    (plan.layout.report_dir / "figures").mkdir(parents=True)
    (plan.layout.report_dir / "index.html").write_text("a report")
    (plan.layout.report_dir / "figures" / "loss.svg").write_text("a figure")
    for leftover in ("main/lock", "main/checkpoints/.tmp-step-00000070/x", "main/checkpoints/.pruned-step-00000020/x"):
        (plan.layout.run_dir / leftover).parent.mkdir(exist_ok=True)
        (plan.layout.run_dir / leftover).write_text("")
    (plan.layout.path("main").checkpoints / "step-00000070").mkdir()
    (plan.layout.path("main").checkpoints / "step-00000070" / "state.json").write_text("half")
    return plan


def release(plan: Plan, name: str, content: bytes) -> None:
    """Write a directory of a released model, as `lrps export` does."""
    model = plan.layout.path(name).model
    model.mkdir(exist_ok=True)
    (model / "model.safetensors").write_bytes(content)
    files = {"model.safetensors": checkpoints.fsync_and_hash(model / "model.safetensors")}
    atomic_write_json(model / "lrps.json", {"format": "lrps-export/1", "files": files})


def files(root: Path) -> dict[str, bytes]:
    """Return the content of every file below a directory, without locks and leftovers."""
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {
        name: content
        for name, content in found.items()
        if not name.endswith("/lock") and "/." not in name and "step-00000070" not in name
    }
