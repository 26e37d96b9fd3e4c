"""A run of three paradigms with interrupted attempts, and copies of it that a test may change, as fixtures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lrps.data.manifest import manifest_path, save_manifest
from lrps.plan.plan import Plan
from support.synthetic_run import PARADIGMS, plan_of, train


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A run of three paradigms over three versions with replay, some of its attempts interrupted."""
    plan = plan_of(tmp_path_factory.mktemp("clean"), [10, 12, 11], PARADIGMS)
    train(
        plan, [(3, "stop"), (6, "kill"), (9, "stop"), (2, "failure"), (5, "published"), (4, "torn"), (0, "kill")], lag=1
    )
    return plan


@pytest.fixture
def run(clean: Plan, tmp_path: Path) -> Path:
    """A copy of the clean run that a test may change."""
    shutil.copytree(clean.layout.run_dir, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def data_root(clean: Plan, tmp_path: Path) -> Path:
    """The folder of the manifests of the clean run's data."""
    for name, values in clean.manifests.items():
        file = manifest_path(tmp_path / "data", name, "train")
        file.parent.mkdir(parents=True)
        save_manifest(values, file)
    return tmp_path / "data"
