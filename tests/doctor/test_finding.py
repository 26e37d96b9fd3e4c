"""What a finding must say."""

from __future__ import annotations

import pytest

from lrps.doctor.finding import Finding, findings_document, is_sound

OK = Finding("area", "good", "ok", "it is")
WARN = Finding("area", "odd", "warn", "it may be", "do this")
FAIL = Finding("area", "bad", "fail", "it is not", "do that")


@pytest.mark.parametrize("state", ["warn", "fail"])
def test_a_finding_that_is_not_ok_says_how_to_fix_it(state: str) -> None:
    with pytest.raises(ValueError, match="area.bad: a finding that is not ok must say how to fix it"):
        Finding("area", "bad", state, "it is not")  # type: ignore[arg-type]


def test_warnings_are_sound_and_failures_are_not() -> None:
    assert is_sound([OK, WARN])
    assert not is_sound([OK, FAIL])
    assert findings_document([WARN]) == {
        "ok": True,
        "findings": [{"area": "area", "name": "odd", "state": "warn", "what": "it may be", "way_out": "do this"}],
    }
