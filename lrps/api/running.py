"""Running a plan from Python: `lrps run` as a subprocess, or the training loop in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrps.api.planning import status
from lrps.api.results import Result
from lrps.api.sources import ConfigSource, load_config
from lrps.base.errors import (
    INTERRUPTED,
    NEEDS_DECISION,
    USER_MISTAKE,
    ConfigError,
    DecisionNeededError,
    LrpsError,
    StoppedError,
    TrainingError,
)
from lrps.base.files import atomic_write_json
from lrps.base.foreign_json import through_json
from lrps.config.extensions import CALLBACKS, DECAYS, OPTIMIZERS, PARADIGMS, TRACKERS
from lrps.config.models import Config
from lrps.costs.status_document import StatusDocument
from lrps.launch.launcher_watch import SUPERVISOR
from lrps.plan.plan import Plan, make_plan

_ERRORS: Mapping[int, type[LrpsError]] = {
    USER_MISTAKE: LrpsError,
    INTERRUPTED: StoppedError,
    NEEDS_DECISION: DecisionNeededError,
}
"""Mapping from exit code of `lrps run` to the error that is raised for it."""
_TAIL = 30


def run(
    source: ConfigSource,
    *,
    overrides: Sequence[str] = (),
    paradigms: Sequence[str] = (),
    versions: Sequence[str] = (),
    in_process: bool = False,
) -> Result[StatusDocument]:
    """Train and evaluate what is missing, as `lrps run` does, and return the status.

    It starts `lrps run` as a subprocess and prints its output; signal handlers, warnings, environment and threads of
    this process are as before. An interrupt (Ctrl-C, or that of a notebook) lets it save; the same call resumes.
    paradigms, versions: only these. in_process: train in this process instead, alone and without a launcher.
    Raises StoppedError if interrupted, DecisionNeededError if the budget, the guard or a callback stopped it,
    TrainingError for a failure, and another LrpsError for a mistake, with the message of the command.
    """
    config = load_config(source, overrides)
    plan = make_plan(config)
    if in_process:
        _run_here(plan, paradigms, versions)
    else:
        _check_plugins(plan)
        file, settings = (Path(source), overrides) if isinstance(source, Path | str) else (_written(config), ())
        chosen = [("--set", text) for text in settings]
        chosen += [("--paradigm", name) for name in paradigms] + [("--version", name) for name in versions]
        _run_command([sys.executable, "-m", "lrps", "run", str(file), *(word for pair in chosen for word in pair)])
    return status(config)


def _check_plugins(plan: Plan) -> None:
    """Raise ConfigError for a plug-in that only this process knows."""
    shapes = {(DECAYS, piece.shape) for path in plan.graph.paths for piece in path.schedule.pieces}
    kinds = {(PARADIGMS, paradigm.kind) for paradigm in plan.graph.paradigms}
    named = {(TRACKERS, name) for name in plan.config.track.trackers} | {
        (CALLBACKS, name) for name in plan.config.callbacks
    }
    optimizer = {(OPTIMIZERS, plan.config.optimizer.kind)}
    for registry, name in shapes | kinds | named | optimizer:
        if not registry.is_found_by_workers(name):
            raise ConfigError(
                f"{registry.group}.{name} ({registry.get(name).source.file}) is registered in this process only, and "
                "training processes would not find it; name its file under `plugins` in the config"
            )


def _written(config: Config) -> Path:
    """Write a config into its run directory for training processes, and return the file.

    Raises ConfigError if it has a secret, which no file of a run contains.
    """
    values = _plain(config.model_dump())
    if values != _plain(config.model_dump(mode="json")):
        raise ConfigError(
            "the config has a secret (track.notify.url, launch.slurm.setup or directives), which is not written into "
            "the run directory: give the path of a config file, or name a variable with track.notify.url_variable"
        )
    file = config.run_dir / "launch" / "config.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    # The files of plug-ins are relative to the config file, and this one is elsewhere.
    atomic_write_json(file, {**values, "plugins": [str(name.absolute()) for name in config.plugins]})
    return file


def _plain(values: Any) -> Any:
    return through_json(values, default=str)


def _run_command(command: Sequence[str]) -> None:
    """Run a command in a session of its own and print its output; raise the error of its exit code."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, SUPERVISOR: str(os.getpid())},
        start_new_session=True,
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=_TAIL)
    with process:
        while True:
            try:
                for line in process.stdout:
                    last.append(line.rstrip("\n"))
                    print(last[-1])
                break
            except KeyboardInterrupt:
                process.terminate()  # It lets its processes save, and ends.
            except BaseException:
                process.terminate()
                raise
    if process.returncode:
        starts = [number for number, line in enumerate(last) if line.startswith("lrps: ")]
        message = "\n".join([*last][starts[-1] :]).removeprefix("lrps: ") if starts else "\n".join(last)
        raise _ERRORS.get(process.returncode, TrainingError)(message or f"exit code {process.returncode}")


def _run_here(plan: Plan, paradigms: Sequence[str], versions: Sequence[str]) -> None:
    """Train in this process, which is as before at the end."""
    from lrps.launch.jobs import unfinished_paths
    from lrps.launch.preflight import check_shards
    from lrps.plan.rewind import finish_rewinds

    if (processes := plan.config.launch.processes) != 1:
        raise ConfigError(f"in_process trains with one process, and launch.processes is {processes}; leave it out")
    finish_rewinds(plan)
    check_shards(plan)
    names = [each.path.name for each in unfinished_paths(plan, paradigms, versions)]
    if not names:
        return
    from lrps.train.in_process import process_as_before
    from lrps.train.job import run_job
    from lrps.train.signals import StopRequest

    with process_as_before(plan.config.launch.threads), StopRequest() as stop_request:
        finished = run_job(plan, names, stop_request)
    if not finished:
        raise StoppedError(f"stopped; {', '.join(names)} not complete. The same call resumes")
