"""The commands of Slurm, and the messages when they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrps.base.errors import SchedulerError
from lrps.launch.slurm.command import outside_of_jobs, slurm
from support.private_slurm import PrivateSlurm


def test_a_machine_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match="squeue is not installed here; run this on a login node"):
        slurm("squeue")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", "controller does not answer"),
        ("squeue: error: no munge\nslurm_load_jobs error: Protocol authentication error", "controller does not answer"),
        ("squeue: fatal: Could not establish a configuration source", "knows no cluster .* run this on a login node"),
    ],
)
def test_a_slurm_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: str, message: str
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho '{output}' >&2\nexit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(SchedulerError, match=message) as raised:
        slurm("squeue", "--me")
    assert "--me" not in str(raised.value), "no raw command"


def test_what_a_job_around_it_was_given_is_not_handed_on() -> None:
    job = {"SLURM_CPUS_PER_TASK": "4", "SRUN_CPUS_PER_TASK": "4", "PMI_RANK": "0", "SQUEUE_PARTITION": "short"}
    stays = {"SLURM_CONF": "slurm.conf", "SLURM_JWT": "x", "SBATCH_ACCOUNT": "nlp", "HOME": "/home/me"}
    assert outside_of_jobs({**job, **stays}) == stays


@pytest.mark.slow
def test_a_refusal_is_quoted(cluster: PrivateSlurm) -> None:
    assert "debug" in slurm("sinfo", "-h")
    with pytest.raises(SchedulerError, match=r"`sbatch --partition=nowhere --wrap true` failed: .*invalid partition"):
        slurm("sbatch", "--partition=nowhere", "--wrap", "true")
