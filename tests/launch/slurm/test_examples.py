"""launch/kubernetes and launch/sky: examples that cannot run here, held against their formats."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml


def load(repository: Path, name: str) -> Any:
    return yaml.safe_load((repository / "launch" / name).read_text())


def test_the_trainjob_starts_a_process_a_gpu(repository: Path) -> None:
    job = load(repository, "kubernetes/trainjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    assert job["spec"].keys() == {"runtimeRef", "trainer", "runtimePatches"}
    assert job["spec"]["runtimeRef"]["name"] == "deepspeed-distributed"
    trainer = job["spec"]["trainer"]
    per_node = trainer["numProcPerNode"]
    assert {int(trainer["resourcesPerNode"][kind]["nvidia.com/gpu"]) for kind in ("requests", "limits")} == {per_node}
    *shell, script = trainer["command"]
    assert shell == ["bash", "-c"]
    assert f"mpirun -np {trainer['numNodes'] * per_node} " in script
    assert "python -m lrps.cli train /lrps/config.yaml main" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    (patch,) = job["spec"]["runtimePatches"]
    jobs = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert [each["name"] for each in jobs] == ["node", "launcher"], "the launcher trains, too"
    for each in jobs:
        pod = each["template"]["spec"]["template"]["spec"]
        assert pod["containers"][0]["volumeMounts"] == [{"name": pod["volumes"][0]["name"], "mountPath": "/lrps"}]


def test_the_sky_task_comes_back_after_a_save(repository: Path) -> None:
    task = load(repository, "sky/lrps.yaml")
    assert task.keys() <= {"name", "num_nodes", "workdir", "resources", "envs", "volumes", "setup", "run"}
    assert task["resources"]["job_recovery"] == {"max_restarts_on_errors": 3}
    for script in (task["setup"], task["run"]):
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert '--module lrps.cli train "$CONFIG" $PATHS' in task["run"]
