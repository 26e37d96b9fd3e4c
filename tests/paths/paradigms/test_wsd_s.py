"""WSD-S: rates and optimizer of its paths."""

from __future__ import annotations

import pytest

from support.compiled_paths import compiled


def test_wsd_s_continues_from_the_decayed_state_without_a_rewarm() -> None:
    first, second = compiled([100, 100], kind="wsd-s", final_lr=0.1).paths
    assert first.lr_stop == pytest.approx(0.1)
    assert [second.schedule.lr_at(s) for s in (100, 139, 140)] == [1.0, 1.0, 1.0]
    assert second.parent is not None
    assert second.parent.optimizer == "carry"
