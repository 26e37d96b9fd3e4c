"""The exact command that starts a job's workers, one function a launcher. Pure: a job and its place in, values out.

Workers are the same whoever starts them. Slurm's scripts are lrps.launch.slurm's.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.config.launching import LaunchConfig
from lrps.launch.hosts import LOCAL, Devices
from lrps.launch.jobs import ProcessGroupJob
from lrps.launch.supervise import GROUP


@dataclass(frozen=True)
class Allocation:
    """What a job got: devices on hosts, and a port at which its processes meet."""

    devices: Devices
    port: int
    on_gpus: bool = True
    """False: the numbers of devices only count processes."""
    environment_file: Path | None = None
    """Where the environment of workers on other hosts is written to."""


@dataclass(frozen=True)
class Start:
    """All that starting a job takes."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Added to this process's own."""
    files: Mapping[Path, str] = field(default_factory=dict)
    """Written before."""
    signal_command: tuple[str, ...] | None = None
    """Sends a signal to workers on other hosts; `{signal}` stands for its name."""

    def signalling(self, name: str) -> tuple[str, ...]:
        return tuple(word.replace("{signal}", name) for word in self.signal_command or ())

    def __str__(self) -> str:
        """As lines of a shell script."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        files = [
            f"mkdir -p {shlex.quote(str(file.parent))}\ncat > {shlex.quote(str(file))} <<'END'\n{text}END"
            for file, text in self.files.items()
        ]
        return "\n".join((*files, " ".join((*settings, shlex.join(self.command)))))


def start(job: ProcessGroupJob, launch: LaunchConfig, place: Allocation, environment: Mapping[str, str]) -> Start:
    """How launch.launcher starts a job at a place. environment: what is added to that of its workers.

    Without a GROUP in it workers on other hosts cannot be signalled.
    """
    match launch.launcher:
        case "local":
            return _deepspeed_here(job, place, environment)
        case "torchrun":
            return _torchrun(job, place, environment, launch.master_port)
        case "deepspeed":
            return _deepspeed_hosts(job, launch, place, environment)
    raise ConfigError(f"launcher {launch.launcher} starts nothing on this machine")


def _deepspeed_here(job: ProcessGroupJob, place: Allocation, environment: Mapping[str, str]) -> Start:
    devices = place.devices[LOCAL]
    if not place.on_gpus:
        return Start(_deepspeed(job, ("--num_gpus", str(len(devices))), place.port), environment)
    if not all(device.isdecimal() for device in devices):
        raise ConfigError(
            f"CUDA_VISIBLE_DEVICES names {', '.join(devices)}, and deepspeed takes numbers only; give numbers, or "
            "take launcher torchrun"
        )
    # Starts a process for each of these; with --num_gpus it would take the first ones whatever is visible.
    return Start(_deepspeed(job, (), place.port), {**environment, "CUDA_VISIBLE_DEVICES": ",".join(devices)})


def _torchrun(
    job: ProcessGroupJob, place: Allocation, environment: Mapping[str, str], master_port: int | None
) -> Start:
    devices = place.devices[LOCAL]
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if place.on_gpus else {}
    there = ("--master_addr", "127.0.0.1", "--master_port", str(place.port))
    meet = ("--standalone",) if master_port is None else there  # Standalone takes a free port by itself.
    command = (sys.executable, "-m", "torch.distributed.run", *meet, "--nproc_per_node", str(len(devices)))
    return Start((*command, "-m", "lrps.cli", *job.arguments), {**environment, **visible})


def _deepspeed_hosts(
    job: ProcessGroupJob, launch: LaunchConfig, place: Allocation, environment: Mapping[str, str]
) -> Start:
    """Over ssh, also where it is one host: deepspeed would start that one here, whichever it is."""
    include = "@".join(f"{host}:{','.join(devices)}" for host, devices in place.devices.items())
    meet = () if launch.master_addr is None else ("--master_addr", launch.master_addr)
    where = ("--hostfile", str(launch.hostfile), "--include", include, "--force_multi", *meet)
    # Workers there get what this file says, and nothing else of ours.
    assert place.environment_file is not None
    lines = "".join(f"{name}={value}\n" for name, value in sorted(environment.items()))
    return Start(
        _deepspeed(job, where, place.port, over_ssh=True),
        {**environment, "DS_ENV_FILE": str(place.environment_file)},
        {place.environment_file: lines},
        _signal_hosts(tuple(place.devices), environment[GROUP]) if GROUP in environment else None,
    )


def _deepspeed(job: ProcessGroupJob, where: tuple[str, ...], port: int, *, over_ssh: bool = False) -> tuple[str, ...]:
    arguments = tuple(map(as_sent_by_pdsh, job.arguments)) if over_ssh else job.arguments
    program = str(Path(sys.executable).with_name("deepspeed"))
    return (
        *(program, "-q", *where, "--master_port", str(port), "--no_local_rank"),
        *("--module", "lrps.cli", *arguments),
    )


def as_sent_by_pdsh(argument: str) -> str:
    """An argument as deepspeed has to get it, so that the shell on the other host gives it to the worker unchanged.

    deepspeed puts those with a space into double quotes and escapes these, and does nothing to others; pdsh makes a
    host's name of `%h`, and one percent sign of two.
    """
    argument = argument.replace("%", "%%")
    return re.sub(r"([\\$`])", r"\\\1", argument) if " " in argument else shlex.quote(argument)


def _signal_hosts(hosts: tuple[str, ...], group: str) -> tuple[str, ...]:
    """The children of deepspeed's launcher on every host: the launcher itself would not let them save.

    Only of this group: another run may be at work there, with the same port even.
    """
    # Neither the shells nor ssh and pdsh, whose arguments hold the same words: these begin with `export` or `cd`.
    launchers = f"pgrep -f {shlex.quote('^[^;]*python[0-9.]* -u -m deepspeed.launcher.launch ')}"
    ours = f"xargs -r -I @ grep -slzxF {GROUP}={group} /proc/@/environ | cut -d / -f 3"
    script = f"{launchers} | {ours} | xargs -r -n 1 pkill -{{signal}} -P"
    return ("pdsh", "-R", "ssh", "-S", "-f", "1024", "-w", ",".join(hosts), script)
