"""The launchers by name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from lrps.base.errors import ConfigError
from lrps.config.launching import LaunchConfig
from lrps.launch.launchers.registry import LAUNCHERS, launcher_of

HOSTFILE = Path("hosts")


def test_the_config_knows_the_same_launchers() -> None:
    """lrps.config may not import lrps.launch, so that it has the names a second time."""
    assert set(get_args(LaunchConfig.model_fields["launcher"].annotation)) == LAUNCHERS.keys()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_config_gets_its_launcher(name: str) -> None:
    launch = LaunchConfig.model_validate({"launcher": name, "hostfile": HOSTFILE})
    launcher = launcher_of(launch)
    assert (launcher.name, launcher.launch) == (name, launch)


def test_an_unknown_name_is_reported_with_the_nearest_one() -> None:
    launch = LaunchConfig().model_copy(update={"launcher": "torchrunn"})
    with pytest.raises(ConfigError, match=r"launch.launcher: 'torchrunn' is not one of .*; did you mean 'torchrun'\?"):
        launcher_of(launch)


def test_groups_of_slurm_are_always_concurrent() -> None:
    concurrent = {name for name in LAUNCHERS if launcher_of(at_once(name, 1)).concurrent}
    assert concurrent == {"slurm"}
    assert all(launcher_of(at_once(name, 2)).concurrent for name in LAUNCHERS)


def at_once(name: str, groups: int) -> LaunchConfig:
    return LaunchConfig.model_validate({"launcher": name, "hostfile": HOSTFILE, "at_once": groups})
