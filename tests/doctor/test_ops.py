"""Compilers, and locks that dead builds leave."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.config.models import Config
from lrps.doctor import ops
from lrps.doctor.examination import Subject
from lrps.plan.plan import make_plan


def test_locks_are_judged_by_their_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert [finding.state for finding in ops.stale_locks(ops.extensions())] == ["ok"]
    lock = tmp_path / "py311_cpu" / "fused_adam" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert [finding.state for finding in ops.stale_locks(ops.extensions())] == ["warn"]
    long_ago = time.time() - ops.STALE_SECONDS - 60
    os.utime(lock, (long_ago, long_ago))
    (found,) = ops.stale_locks(ops.extensions())
    assert (found.state, f"rm {lock}" in found.way_out) == ("fail", True)
    assert lock.exists(), "the doctor changes nothing"


@pytest.mark.parametrize(("compiles", "state"), [(True, "fail"), (False, "warn")])
def test_a_compiler_is_needed_only_to_compile(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, compiles: bool, state: str
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    subject = Subject(make_plan(make_config(engine={"compile": compiles})))
    assert next(iter(ops.check_ops(subject))).state == state
