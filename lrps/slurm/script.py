"""The batch script of a job: the template with everything filled in. Pure: writes nothing, asks nobody."""

from __future__ import annotations

import shlex
import sys
from importlib.resources import files
from pathlib import Path as FilePath

from jinja2 import Environment, StrictUndefined, TemplateError

from lrps.config.launching import Resources, Slurm
from lrps.errors import ConfigError
from lrps.launch.jobs import Job
from lrps.plan import Plan
from lrps.slurm.names import job_comment, slurm_directory


def script_text(plan: Plan, job: Job) -> str:
    """The script of a job. Raises ConfigError for a template that cannot be filled in."""
    slurm = plan.config.launch.slurm
    layouts = [plan.layout.path(name) for name in job.paths]
    saves = [str(place.absolute()) for layout in layouts for place in (layout.checkpoints, layout.branch_points)]
    prefix = str(slurm_directory(plan) / job.name)
    return _fill_in(
        slurm.template,
        job_name=_quoted(f"{plan.config.name}.{job.name}"),
        comment=_quoted(job_comment(plan, job.paths)),
        working_directory=_quoted(str(FilePath.cwd())),
        output=_quoted(f"{prefix.replace('%', '%%')}-%j.out"),
        signal_seconds=slurm.signal_seconds,
        nodes=job.nodes,
        processes=job.processes,
        directives=_directives(slurm, job.resources),
        setup=slurm.setup.rstrip(),
        saves=shlex.join(saves),
        prefix=shlex.quote(prefix),
        command=shlex.join(job.command),
        finished=shlex.join((sys.executable, "-m", "lrps.slurm.finished", *job.arguments[1:])),
    )


def _directives(slurm: Slurm, resources: Resources) -> list[str]:
    options = {
        "partition": resources.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "time": resources.time_limit,
        "gres": None if slurm.gres is None else f"{slurm.gres}:{resources.processes}",
    }
    given = [f"--{name}={_quoted(value)}" for name, value in options.items() if value is not None]
    return [*given, *slurm.directives]


def _quoted(value: str) -> str:
    """A value of a #SBATCH line: unlike the shell, sbatch reads nothing into dollars and backquotes."""
    if '"' in value or "\n" in value:
        raise ConfigError(f"{value!r} holds a character that an #SBATCH line cannot; choose another name or directory")
    return f'"{value}"' if any(character in value for character in " '#\\") else value


def _fill_in(template: FilePath | None, **values: object) -> str:
    source = files("lrps.slurm").joinpath("path.sbatch") if template is None else template
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
