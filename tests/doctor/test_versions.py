"""Packages against their ranges."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from lrps.doctor import versions
from lrps.doctor.examination import Subject


@pytest.mark.parametrize(
    ("requirement", "state", "fix"),
    [
        ("numpy>=1", "ok", ""),
        ("numpy>=99", "fail", "run `pip install 'numpy>=99'`"),
        ("no-such-package-of-lrps>=1", "fail", "run `pip install 'no-such-package-of-lrps>=1'`"),
        ("deepspeed==0.0.1", "fail", "depend on internals of that version"),
    ],
)
def test_a_package(requirement: str, state: str, fix: str) -> None:
    found = versions.package(Requirement(requirement))
    assert found.state == state
    assert fix in found.way_out


def test_everything_that_is_installed_here_serves() -> None:
    found = {finding.name: finding for finding in versions.check_versions(Subject())}
    assert {finding.state for finding in found.values()} == {"ok"}
    assert version("torch") in found["torch"].what
    assert "ruff" not in found, "what only developers need"


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "PYTHON", (99, 0))
    assert next(iter(versions.check_versions(Subject()))).state == "fail"


def test_a_torch_for_cpus_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(versions, "has_nvidia_gpu", lambda: True)
    (found,) = versions.check_torch(Subject())
    assert (found.state, "built for CPUs only" in found.what) == ("fail", True)
    monkeypatch.setattr(versions, "has_nvidia_gpu", lambda: False)
    assert next(iter(versions.check_torch(Subject()))).state == "ok"
