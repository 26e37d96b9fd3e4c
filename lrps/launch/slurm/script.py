"""The text of a job's batch script, from its template. Writes no file and runs no command."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lrps.base.errors import ConfigError
from lrps.config.launching import SlurmConfig
from lrps.launch.launchers.slurm import allocation_options
from lrps.launch.process_group import ProcessGroupJob
from lrps.launch.slurm.names import job_comment, slurm_directory
from lrps.plan.plan import Plan

_RESERVED = re.compile(r"(--comment|--array|--wait|--parsable)(=|\s|$)|-[aW]")
"""Options with which lrps would not find a job again, or which make it more than one job."""
_EARLY_SECONDS = 60
"""Time by which Slurm may send its signal earlier than asked for."""


def script_text(plan: Plan, job: ProcessGroupJob, options: SlurmConfig | None = None) -> str:
    """Return the script of a job. options: in place of those of the config.

    Raises ConfigError for a template that cannot be filled in, a directive that is not allowed, and a time limit that
    leaves no time to train.
    """
    slurm = options or plan.config.launch.slurm
    _check_time(job, slurm.signal_seconds)
    layouts = [plan.layout.path(name) for name in job.paths]
    saves = [str(folder.absolute()) for layout in layouts for folder in (layout.checkpoints, layout.branch_points)]
    prefix = str(slurm_directory(plan.layout.run_dir) / job.name)
    return _fill_in(
        slurm.template,
        job_name=_quoted(f"{plan.config.name}.{job.name}"),
        comment=_quoted(job_comment(plan.layout.run_dir, job.paths)),
        working_directory=_quoted(str(Path.cwd())),
        output=_quoted(f"{prefix.replace('%', '%%')}-%j.out"),
        signal_seconds=slurm.signal_seconds,
        nodes=job.nodes,
        processes=job.processes,
        directives=_directives(slurm, job),
        setup=slurm.setup.rstrip(),
        saves=shlex.join(saves),
        prefix=shlex.quote(prefix),
        command=shlex.join(job.command),
        finished=shlex.join((sys.executable, "-m", "lrps.launch.slurm.finished", *job.arguments[1:])),
    )


def _directives(slurm: SlurmConfig, job: ProcessGroupJob) -> list[str]:
    options = [f"--{name}={_quoted(value)}" for name, value in allocation_options(slurm, job).items()]
    for directive in slurm.directives:
        if _RESERVED.match(directive) or not directive.isprintable():
            raise ConfigError(
                f"launch.slurm.directives: {directive!r} is not allowed: lrps sets the options by which it finds its "
                "jobs again, and a directive is one line; remove it"
            )
    return [*options, *slurm.directives]


def _check_time(job: ProcessGroupJob, signal_seconds: int) -> None:
    limit = job.resources.time_limit
    if limit is None:
        return
    days, _, time = limit.rpartition("-")
    hours, minutes, seconds = (int(part) for part in time.split(":"))
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total <= signal_seconds + _EARLY_SECONDS:
        raise ConfigError(
            f"{job.name}: time_limit {limit} leaves no time to train: the job is asked to save signal_seconds "
            f"({signal_seconds}) before its end, and up to {_EARLY_SECONDS} s earlier; give it more time"
        )


def _quoted(value: str) -> str:
    """Return a value as an #SBATCH line takes it; unlike a shell, sbatch expands no dollars and backquotes."""
    if {'"', "\\"} & {*value} or not value.isprintable():
        raise ConfigError(
            f"{value!r} has a character that no #SBATCH line may contain; choose another name or directory"
        )
    return f'"{value}"' if any(character in value for character in " '#") else value


def _fill_in(template: Path | None, **values: object) -> str:
    """Return a template with the values filled in. It is rendered in a sandbox, so that it can run no Python.

    The job runs the resulting script without any further check: a template is as trusted as the config that names it.
    """
    source = files("lrps.launch.slurm").joinpath("path.sbatch") if template is None else template
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    try:
        return environment.from_string(source.read_text(encoding="utf-8")).render(**values)
    except Exception as error:  # A template can fail in any way that an expression of Python can.
        reason = str(error) or type(error).__name__
        raise ConfigError(
            f"launch.slurm.template: {template} cannot be filled in ({reason}); start from a copy of "
            "launch/slurm/path.sbatch"
        ) from None
