"""Started by test_trainer.py on some ranks: trains small plans through every law in one process group.

Usage: laws_worker.py DIRECTORY. Writes DIRECTORY/<case>/runs/... and DIRECTORY/<case>/resumed/...; the test compares.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from lrps.base.errors import CheckpointError
from lrps.config.loader import load_config
from lrps.engine.deepspeed_engine import process_group
from lrps.engine.ranks import ask_rank_zero
from lrps.engine.universal import write_universal
from lrps.engine.universal_import import import_universal
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import find
from lrps.store.layout import PathLayout
from lrps.train.job import run_paths
from lrps.train.signals import StopRequest


class StopAfter:
    """A request to stop that comes in the sixth step of a path, on all ranks."""

    def __init__(self) -> None:
        self.reads = 0

    @property
    def seen(self) -> bool:
        self.reads += 1  # once before the path, then once a step
        return self.reads > 6


def run(plan: Plan, *names: str) -> None:
    assert run_paths(plan, names, StopRequest())


def file_hashes(directory: Path) -> dict[str, str]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def interrupt_and_resume(plan: Plan, *names: str) -> None:
    for name in names:
        assert not run_paths(plan, [name], StopAfter())  # type: ignore[arg-type]
        run(plan, name)


def laws(config_file: Path, directory: Path, settings: list[str]) -> None:
    # Resuming is compared with a run whose main path is not evaluated: evaluations change no bit either.
    runs = (f"runs={directory / 'runs'}", "evaluation.main_every_steps=null")
    plan = make_plan(load_config(config_file, [*settings, *runs]))
    run(plan, "main")
    main = plan.layout.path("main").directory
    before = ask_rank_zero(lambda: file_hashes(main))
    run(plan, "branch-v1", "branch-v2", "straight-v1")
    after = ask_rank_zero(lambda: file_hashes(main))
    ask_rank_zero(lambda: (directory / "parent.json").write_text(json.dumps([before, after])))
    runs = (f"runs={directory / 'resumed'}", "evaluation.main_every_steps=3")
    resumed = make_plan(load_config(config_file, [*settings, *runs]))
    interrupt_and_resume(resumed, "main", "straight-v1")


def take_over(root: Path) -> None:
    """What another trainer would have left: the end of a main path, through DeepSpeed's universal format."""
    trained = PathLayout(root / "zero1" / "runs" / "tiny" / "main")
    write_universal(find(trained, 28).directory, root / "state", 28, 112, {})
    import_universal(load_config(root / "config.yaml").model, root / "state", root / "state")


def refuse(root: Path, settings: list[str]) -> None:
    """Start another model from that state."""
    wider = [*settings, "model.architecture.hidden_size=32", f"runs={root / 'refused'}"]
    try:
        run(make_plan(load_config(root / "config.yaml", wider)), "main")
    except CheckpointError as error:
        told = str(error)
        ask_rank_zero(lambda: (root / "refused.txt").write_text(told))


if __name__ == "__main__":
    root = Path(sys.argv[1])
    with process_group():
        for case in json.loads((root / "cases.json").read_text()):
            if case["name"] == "from_state":
                ask_rank_zero(lambda: take_over(root))
                refuse(root, case["settings"])
            laws(root / "config.yaml", root / case["name"], case["settings"])
