"""A process group as values: its job, the devices allocated to it, and the command that starts it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lrps.config.launching import Resources
from lrps.launch.hosts import Devices
from lrps.paths.graph import Fork

GROUP = "LRPS_GROUP"
"""Environment variable whose value all processes of a group share and no other process has. Operating-system process
groups cannot serve for that: torchrun starts every worker in a session of its own."""

SUPERVISED = "LRPS_SUPERVISED"
"""Environment variable of workers that `lrps run` waits for. They exit with 0 once they have saved as they were asked
to: it reads from the run directory what is complete, and for any other code deepspeed's launcher prints an error."""

THREADS = "OMP_NUM_THREADS"
"""Environment variable for the number of CPU threads of a process."""


_PUBLIC = {
    GROUP,
    SUPERVISED,
    THREADS,
    "TOKENIZERS_PARALLELISM",
    "DS_ACCELERATOR",
    "DS_ENV_FILE",
    "CUDA_VISIBLE_DEVICES",
}
"""Variables that lrps sets itself, whose values are shown."""


def _shown(name: str, value: str) -> str:
    return value if name in _PUBLIC else "..."


def _concealed(environment: str) -> str:
    """Return the text of an environment file without values that may be secrets."""
    lines = (line.partition("=") for line in environment.splitlines())
    return "".join(f"{name}{equals}{_shown(name, value)}\n" for name, equals, value in lines)


@dataclass(frozen=True)
class ProcessGroupJob:
    """The paths that one process group trains in a row, the command of its workers, and what it needs."""

    paths: tuple[str, ...]
    """Names of the paths, parents before children."""
    arguments: tuple[str, ...]
    """Arguments of `lrps` in every worker: `train CONFIG --set ... PATH...`."""
    resources: Resources
    """Resources of the group, with `nodes` and `processes` filled in."""
    needs: tuple[Fork, ...] = ()
    """Branch points that other jobs save and its own paths start from; it may start once all of them are pinned."""
    after: tuple[str, ...] = ()
    """Names of the jobs that save those branch points."""

    @property
    def name(self) -> str:
        """Name of the job, unique within a run."""
        return self.paths[0]

    @property
    def command(self) -> tuple[str, ...]:
        """Command of every worker, whatever launcher starts it."""
        return (sys.executable, "-m", "lrps.cli", *self.arguments)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.resources.nodes or 1

    @property
    def processes(self) -> int:
        """Number of processes on each node."""
        return self.resources.processes or 1

    @property
    def world_size(self) -> int:
        """Number of processes on all nodes."""
        return self.nodes * self.processes


@dataclass(frozen=True)
class Allocation:
    """The devices and the port that one process group has for itself."""

    devices: Devices
    port: int
    """Port at which the processes of the group meet."""
    on_gpus: bool = True
    """Whether the ids of devices are those of GPUs; on the CPU they only count processes."""
    environment_file: Path | None = None
    """File for the environment of workers on other hosts."""


@dataclass(frozen=True)
class LaunchCommand:
    """The command that starts a process group, with the environment and the files that it needs."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Variables that are added to the environment of this process."""
    files: Mapping[Path, str] = field(default_factory=dict)
    """Mapping from path to text of the files to write before the command starts."""
    signal_template: tuple[str, ...] | None = None
    """Command that sends a signal to workers on other hosts, with `{signal}` in place of its name; None if all workers
    are on this machine."""

    def signal_command(self, signal_name: str) -> tuple[str, ...] | None:
        """Return the command that sends a signal (`TERM`, `KILL`) to workers on other hosts; None without any."""
        if self.signal_template is None:
            return None
        return tuple(word.replace("{signal}", signal_name) for word in self.signal_template)

    def as_shell_script(self) -> str:
        """Return the lines of a shell script that writes the files and starts the command.

        Values of variables that lrps does not set itself are concealed: people keep keys in `.deepspeed_env`.
        """
        settings = [f"{name}={shlex.quote(_shown(name, value))}" for name, value in sorted(self.environment.items())]
        files = [
            f"mkdir -p {shlex.quote(str(file.parent))}\ncat > {shlex.quote(str(file))} <<'END'\n{_concealed(text)}END"
            for file, text in self.files.items()
        ]
        return "\n".join((*files, " ".join((*settings, shlex.join(self.command)))))
