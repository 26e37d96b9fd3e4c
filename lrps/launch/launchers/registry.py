"""The launchers by name. A new launcher is a class, an entry here and its name in `lrps.config.launching`."""

from __future__ import annotations

from difflib import get_close_matches

from lrps.base.errors import ConfigError
from lrps.config.launching import LaunchConfig
from lrps.launch.launchers.deepspeed_hosts import DeepSpeedHostsLauncher
from lrps.launch.launchers.launcher import HostLauncher
from lrps.launch.launchers.local import LocalLauncher
from lrps.launch.launchers.slurm import SlurmLauncher
from lrps.launch.launchers.torchrun import TorchrunLauncher

LAUNCHERS: dict[str, type[HostLauncher] | type[SlurmLauncher]] = {
    launcher.name: launcher for launcher in (LocalLauncher, DeepSpeedHostsLauncher, TorchrunLauncher, SlurmLauncher)
}


def launcher_of(launch: LaunchConfig) -> HostLauncher | SlurmLauncher:
    """Return the launcher of a config. Raises ConfigError, with the nearest name, if no launcher has that name."""
    if launch.launcher not in LAUNCHERS:
        near = get_close_matches(launch.launcher, LAUNCHERS, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"launch.launcher: {launch.launcher!r} is not one of {', '.join(LAUNCHERS)}{hint}")
    return LAUNCHERS[launch.launcher](launch)
