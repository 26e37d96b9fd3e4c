"""Slurm's commands, and what is said when they fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from private_slurm import PrivateSlurm

from lrps.errors import SchedulerError
from lrps.slurm.command import slurm


def test_a_machine_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match="squeue is not installed here; run this on a login node"):
        slurm("squeue")


@pytest.mark.slow
def test_a_refusal_is_quoted(cluster: PrivateSlurm) -> None:
    assert "debug" in slurm("sinfo", "-h")
    with pytest.raises(SchedulerError, match=r"`sbatch --partition=nowhere --wrap true` failed: .*invalid partition"):
        slurm("sbatch", "--partition=nowhere", "--wrap", "true")
