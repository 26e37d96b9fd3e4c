"""The forecast that is left under drift: exact where gains repeat, and checked on earlier versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.forecast.fallback import FALLBACK_HALF_WIDTH, VersionLosses, fallback, role_of

ORDER = ["v1", "v2", "v3", "v4", "v5"]
ROLES = ("new", "previous", "older", "next")


def versions(gains: dict[str, float], last_gain: float = 0.0) -> list[VersionLosses]:
    """Return five versions, the last one without a finished branch. gains: by role; those of v4 are last_gain more."""
    found = []
    for number, version in enumerate(ORDER):
        sets = ORDER[: number + 2]
        main = {heldout: 3.0 + 0.1 * number + 0.01 * ORDER.index(heldout) for heldout in sets}
        more = last_gain if version == "v4" else 0.0
        branch = {heldout: main[heldout] - gains[role_of(ORDER, version, heldout)] - more for heldout in sets}
        found.append(VersionLosses(version, main, {} if version == "v5" else branch))
    return found


def test_roles_are_those_of_the_text() -> None:
    assert [role_of(ORDER, "v3", each) for each in ORDER] == ["older", "previous", "new", "next", "next"]


@given(st.fixed_dictionaries({role: st.floats(0.01, 0.5) for role in ROLES}), st.floats(-0.1, 0.1))
def test_gains_that_repeat_are_forecast_exactly(gains: dict[str, float], more: float) -> None:
    known = versions(gains, more)
    for heldout in ORDER:
        role = role_of(ORDER, "v5", heldout)
        found = fallback(ORDER, known, "v5", heldout)
        assert found is not None
        assert found.loss == pytest.approx(known[-1].main[heldout] - gains[role] - more)
        assert (found.role, found.of_version, found.half_width) == (role, "v4", FALLBACK_HALF_WIDTH)
        # v4 is the only version whose gain differs from that of the version before it.
        checked = {"new": 3, "previous": 2, "older": 2}[role]
        off = {"new": 1, "previous": 1, "older": 2}[role]
        assert found.checked == checked
        assert found.mean_error == pytest.approx(off * abs(more) / checked, abs=1e-12)


def test_without_the_end_of_the_increment_or_a_gain_of_the_role_there_is_none() -> None:
    known = versions(dict.fromkeys(ROLES, 0.1))
    assert fallback(ORDER, [*known[:-1], VersionLosses("v5", {"v1": 3.0}, {})], "v5", "v5") is None
    assert fallback(ORDER, known, "v1", "v1") is None
    assert fallback(ORDER, known, "v2", "v1") is None, "v1 has no previous text"
    first = fallback(ORDER, known, "v3", "v1")
    assert first is None, "v2 has no older text"


def test_the_first_number_has_nothing_to_be_checked_on() -> None:
    found = fallback(ORDER, versions(dict.fromkeys(ROLES, 0.1)), "v2", "v2")
    assert found is not None
    assert (found.checked, found.mean_error) == (0, None)
