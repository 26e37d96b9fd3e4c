"""The batch script of a job: the template with everything filled in. Pure: writes nothing, asks nobody."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, TemplateError

from lrps.base.errors import ConfigError
from lrps.config.launching import Resources, SlurmConfig
from lrps.launch.jobs import ProcessGroupJob
from lrps.launch.slurm.names import job_comment, slurm_directory
from lrps.plan.plan import Plan

_OURS = re.compile(r"(--comment|--array|--wait|--parsable)(=|\s|$)|-[aW]")
"""Options by which a job would not be found again, or not be one job."""
_EARLY_SECONDS = 60
"""SlurmConfig may send its signal so much earlier than it was told."""


def script_text(plan: Plan, job: ProcessGroupJob) -> str:
    """The script of a job.

    Raises ConfigError for a template that cannot be filled in, a directive that cannot stand, and a time limit that
    leaves no time to train.
    """
    slurm = plan.config.launch.slurm
    _check_time(job, slurm.signal_seconds)
    layouts = [plan.layout.path(name) for name in job.paths]
    saves = [str(place.absolute()) for layout in layouts for place in (layout.checkpoints, layout.branch_points)]
    prefix = str(slurm_directory(plan) / job.name)
    return _fill_in(
        slurm.template,
        job_name=_quoted(f"{plan.config.name}.{job.name}"),
        comment=_quoted(job_comment(plan, job.paths)),
        working_directory=_quoted(str(Path.cwd())),
        output=_quoted(f"{prefix.replace('%', '%%')}-%j.out"),
        signal_seconds=slurm.signal_seconds,
        nodes=job.nodes,
        processes=job.processes,
        directives=_directives(slurm, job.resources),
        setup=slurm.setup.rstrip(),
        saves=shlex.join(saves),
        prefix=shlex.quote(prefix),
        command=shlex.join(job.command),
        finished=shlex.join((sys.executable, "-m", "lrps.launch.slurm.finished", *job.arguments[1:])),
    )


def _directives(slurm: SlurmConfig, resources: Resources) -> list[str]:
    options = {
        "partition": resources.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": resources.time_limit,
        "gres": None if slurm.gres is None else f"{slurm.gres}:{resources.processes}",
    }
    given = [f"--{name}={_quoted(value)}" for name, value in options.items() if value is not None]
    for directive in slurm.directives:
        if _OURS.match(directive) or not directive.isprintable():
            raise ConfigError(
                f"launch.slurm.directives: {directive!r} cannot stand there: lrps says itself how its jobs are found "
                "again, and a directive is one line; remove it"
            )
    return [*given, *slurm.directives]


def _check_time(job: ProcessGroupJob, signal_seconds: int) -> None:
    limit = job.resources.time_limit
    if limit is None:
        return
    days, _, time = limit.rpartition("-")
    hours, minutes, seconds = (int(part) for part in time.split(":"))
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total <= signal_seconds + _EARLY_SECONDS:
        raise ConfigError(
            f"{job.name}: time_limit {limit} leaves no time to train: the job is told to save signal_seconds "
            f"({signal_seconds}) before its end, and up to {_EARLY_SECONDS} s earlier; give it more time"
        )


def _quoted(value: str) -> str:
    """A value of a #SBATCH line: unlike the shell, sbatch reads nothing into dollars and backquotes."""
    if {'"', "\\"} & {*value} or not value.isprintable():
        raise ConfigError(f"{value!r} holds a character that an #SBATCH line cannot; choose another name or directory")
    return f'"{value}"' if any(character in value for character in " '#") else value


def _fill_in(template: Path | None, **values: object) -> str:
    source = files("lrps.launch.slurm").joinpath("path.sbatch") if template is None else template
    try:
        text = source.read_text(encoding="utf-8")
        return (
            Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
            .from_string(text)
            .render(**values)
        )
    except (OSError, UnicodeDecodeError, TemplateError) as error:
        raise ConfigError(
            f"launch.slurm.template: {template} cannot be filled in ({error}); start from a copy of "
            "launch/slurm/path.sbatch"
        ) from None
