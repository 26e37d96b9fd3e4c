"""Launcher `deepspeed`: the deepspeed launcher over ssh on the hosts of a hostfile."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from lrps.config.launching import Resources
from lrps.launch.hosts import Devices, read_hostfile
from lrps.launch.launchers.launcher import HostLauncher
from lrps.launch.launchers.local import deepspeed_command
from lrps.launch.process_group import GROUP, Allocation, LaunchCommand, ProcessGroupJob

_PASSED_ON = ("DS_ACCELERATOR", "OMP_NUM_THREADS")
"""Variables of this process for workers on other hosts, beside those that deepspeed itself passes on."""


class DeepSpeedHostsLauncher(HostLauncher):
    """The deepspeed launcher on the hosts of `launch.hostfile`."""

    name = "deepspeed"
    single_host = False
    first_port = 29500

    @cached_property
    def slots(self) -> dict[str, int]:
        """Host -> its slots, in the order of the hostfile."""
        assert self.launch.hostfile is not None, "the config was validated"
        return read_hostfile(self.launch.hostfile)

    def resources_of(self, kind: str) -> Resources:
        """Return the resources of a group, which has all hosts of the hostfile unless the config says otherwise."""
        return self.launch.resources_of(kind, hosts=len(self.slots))

    def find_devices(self, _environment: Mapping[str, str], _processes: int) -> Devices:
        """Return a device for every slot of the hostfile."""
        return {host: tuple(map(str, range(slots))) for host, slots in self.slots.items()}

    def worker_environment(self, environment: Mapping[str, str], _cpu_processes: int | None) -> dict[str, str]:
        """Return what workers on other hosts get: variables of this process, and those of `.deepspeed_env`."""
        passed = {name: environment[name] for name in _PASSED_ON if name in environment}
        return {"TOKENIZERS_PARALLELISM": "false", **passed, **_user_environment(environment)}

    def command(self, job: ProcessGroupJob, allocation: Allocation, environment: Mapping[str, str]) -> LaunchCommand:
        """Return the command of `deepspeed` over ssh, and the file with the environment of its workers."""
        include = "@".join(f"{host}:{','.join(devices)}" for host, devices in allocation.devices.items())
        address = () if self.launch.master_addr is None else ("--master_addr", self.launch.master_addr)
        # With one host, deepspeed would start on this machine, whichever host is named, without --force_multi.
        where = ("--hostfile", str(self.launch.hostfile), "--include", include, "--force_multi", *address)
        assert allocation.environment_file is not None, "workers on other hosts get no variables but those of this file"
        lines = "".join(f"{name}={value}\n" for name, value in sorted(environment.items()))
        return LaunchCommand(
            deepspeed_command(where, allocation.port, tuple(map(quoted_for_pdsh, job.arguments))),
            {**environment, "DS_ENV_FILE": str(allocation.environment_file)},
            {allocation.environment_file: lines},
            _signal_template(tuple(allocation.devices), environment[GROUP]) if GROUP in environment else None,
        )


def quoted_for_pdsh(argument: str) -> str:
    """Return an argument as deepspeed must get it for the shell on the other host to pass it to the worker unchanged.

    deepspeed puts arguments with a space into double quotes, in which some characters need a backslash, and quotes no
    others; pdsh replaces `%h` by the name of the host, and `%%` by a percent sign.
    """
    argument = argument.replace("%", "%%")
    return re.sub(r"([\\$`])", r"\\\1", argument) if " " in argument else shlex.quote(argument)


def _signal_template(hosts: Sequence[str], group: str) -> tuple[str, ...]:
    """Return the command that signals the workers of a group: the children of deepspeed's launcher on every host.

    The launcher itself is not signalled, because it would not let its workers save. Launchers of other groups are left
    alone; another run may use the same hosts, and even the same port.
    """
    # The shells, ssh and pdsh have the same words among their arguments, but begin with `export` or `cd`.
    launchers = f"pgrep -f {shlex.quote('^[^;]*python[0-9.]* -u -m deepspeed.launcher.launch ')}"
    of_group = f"xargs -r -I @ grep -slzxF {GROUP}={group} /proc/@/environ | cut -d / -f 3"
    script = f"{launchers} | {of_group} | xargs -r -n 1 pkill -{{signal}} -P"
    return ("pdsh", "-R", "ssh", "-S", "-f", "1024", "-w", ",".join(hosts), script)


def _user_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the user has written for all hosts to the file that deepspeed would read.

    deepspeed does not read that file itself, because DS_ENV_FILE names the file of the job instead.
    """
    name = environment.get("DS_ENV_FILE", ".deepspeed_env")
    found: dict[str, str] = {}
    for folder in (Path.home(), Path()):
        if (folder / name).is_file():
            lines = (line.partition("=") for line in (folder / name).read_text(encoding="utf-8").splitlines())
            found |= {key.strip(): value.strip() for key, equals, value in lines if equals}
    return found
