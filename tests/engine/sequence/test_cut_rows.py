"""Rows that two ranks share: the same losses, norms, weights and held-out losses as one process alone."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.slow


@pytest.fixture(
    params=[2, pytest.param("all 2", marks=pytest.mark.long), pytest.param("all 4", marks=pytest.mark.long)]
)
def shared(request):
    """Name of a case -> findings: two ranks that share all rows, or four in two groups."""
    if request.param == 2:
        return request.getfixturevalue("matrix")[2]["shared_rows"]
    return request.getfixturevalue("all_shared_rows")[int(request.param[-1])]["all_shared_rows"]


def close(found, expected, precision, fp32=2e-6):
    relative = fp32 if precision == "fp32" else 2e-2
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=relative, atol=relative)


def test_steps_are_those_of_one_process(shared):
    for name, found in shared.items():
        precision = name.split()[3]
        close(found["ours"][0], found["bare"][0], precision)
        # Later norms are those of weights that rounding has moved apart.
        (losses, norms), (expected, of_bare) = (zip(*found[who], strict=True) for who in ("ours", "bare"))
        close(losses, expected, precision)
        assert norms == pytest.approx(of_bare, rel=2e-5 if precision == "fp32" else 2e-2), name
        assert found["judged"] == found["ours"], name
        assert found["weights_apart"] < (5e-4 if precision == "fp32" else 0.1), name


def test_heldout_losses_are_those_of_whole_rows(shared):
    for name, found in shared.items():
        precision, expected = name.split()[3], found["of_rows"]
        groups = {group: (means, total) for group, means, total in found["of_group"]}
        assert len(found["of_group"]) == 2 * len(groups)
        for group, means, total in found["of_group"]:  # Equal on the ranks of a group.
            assert (means, total) == groups[group], name
        close([mean for group in sorted(groups) for mean in groups[group][0]], expected, precision, fp32=2e-5)
        loss, tokens = found["total"]
        assert tokens == 15 * len(expected), name
        close(loss / tokens, sum(expected) / len(expected), precision, fp32=2e-5)


@pytest.mark.long
@pytest.mark.parametrize("world", [2, 4])
def test_a_state_is_continued_with_another_number_of_parts(all_shared_rows, world):
    for first, found in all_shared_rows[world]["across_sizes"].items():
        assert found["different"] == []
        close(found["resumed"], found["straight"], "fp32")
        assert found["facts"] == ([2, 2] if first == "2" else [None, None])
