"""What a launcher inherits from the process that starts it."""

from __future__ import annotations

import pytest

from lrps.launch.inherited import inherited

KEPT = ("PATH", "HOME", "CUDA_VISIBLE_DEVICES", "NCCL_DEBUG", "SLURM_JOB_ID", "MASTER_PORT", "OMP_NUM_THREADS", "PETRA")
DROPPED = (
    *("PET_NNODES", "PET_RDZV_ENDPOINT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK"),
    *("NODE_RANK", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE", "OMPI_COMM_WORLD_RANK", "PMI_RANK"),
    *("SLURM_PROCID", "SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_LOCALID", "LRPS_GROUP", "LRPS_MEETING_FILE"),
    "LRPS_SUPERVISOR",
)


@pytest.mark.parametrize("name", KEPT)
def test_what_people_set_is_kept(name: str) -> None:
    assert inherited({name: "1"}) == {name: "1"}


@pytest.mark.parametrize("name", DROPPED)
def test_what_describes_another_group_is_dropped(name: str) -> None:
    assert inherited({name: "1", "HOME": "/"}) == {"HOME": "/"}
