"""Variables of this process that its workers must not inherit, because they describe another process group."""

from __future__ import annotations

import re
from collections.abc import Mapping

_FOREIGN = re.compile(
    r"PET_.*|TORCHELASTIC_.*|(LOCAL_|GROUP_|ROLE_|CROSS_)?(RANK|WORLD_SIZE)|NODE_RANK|ROLE_NAME|CROSS_SIZE"
    r"|DLTS_HOSTFILE|(OMPI_COMM_WORLD|OMPI_MCA|PMI|PMIX|MV2_COMM_WORLD|HYDI)_.*|MPI_LOCAL(RANKID|NRANKS)"
    r"|SLURM_(STEP_.*|STEPID|PROCID|LOCALID|NODEID|GTIDS|TASK_PID|NTASKS|NPROCS|LAUNCH_NODE_IPADDR|SRUN_.*)"
    r"|LRPS_(LAUNCHED_AT|GROUP|SUPERVISED|SUPERVISOR|MEETING_FILE)"
)
"""torchrun reads a default for every option from PET_<OPTION>, and libraries take the others for their own rank."""


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a launcher and its workers inherit, without those of a group around this process."""
    return {name: value for name, value in environment.items() if not _FOREIGN.fullmatch(name)}
