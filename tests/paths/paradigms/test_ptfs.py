"""Pre-training from scratch: starts, rows and rates of its paths."""

from __future__ import annotations

from support.compiled_paths import compiled, parts


def test_ptfs_mixes_all_increments_from_the_start() -> None:
    paths = compiled([100, 50], kind="ptfs").paths
    assert [parts(path) for path in paths] == [[("v1", 0, 200)], [("v1", 0, 200), ("v2", 0, 100)]]
    assert [len(path.segments) for path in paths] == [1, 1]
    assert all(path.parent is None and path.lr_stop == 0 for path in paths)
