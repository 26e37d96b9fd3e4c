"""Pre-training from scratch: starts, rows and rates of its paths."""

from __future__ import annotations

import pytest

from lrps.base.errors import ConfigError
from support.compiled_paths import compiled, parts


def test_ptfs_mixes_all_increments_from_the_start() -> None:
    paths = compiled([100, 50], kind="ptfs").paths
    assert [parts(path) for path in paths] == [[("v1", 0, 200)], [("v1", 0, 200), ("v2", 0, 100)]]
    assert [len(path.segments) for path in paths] == [1, 1]
    assert all(path.parent is None and path.lr_stop == 0 for path in paths)


def test_a_version_may_have_a_peak_of_its_own() -> None:
    paths = compiled([100, 50], kind="ptfs", peak_lr_per_version={"v2": 0.5}).paths
    assert [max(path.schedule.lr_at(step) for step in range(path.stop)) for path in paths] == [1.0, 0.5]


def test_a_final_rate_above_the_peak_of_a_version_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the final rate 0.2 is above the peak rate 0.1 of version v2"):
        compiled([100, 50], kind="ptfs", final_lr=0.2, peak_lr_per_version={"v2": 0.1})
