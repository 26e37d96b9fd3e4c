"""k-means: nearest centroids, centroids that are means, and the best of all partitions where it is easy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.rehearsal import kmeans as module
from lrps.rehearsal.kmeans import kmeans

POINTS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=25).map(np.array)


@settings(deadline=None)
@given(POINTS, st.integers(1, 6), st.integers(0, 3))
def test_it_ends_in_a_fixed_point(points: np.ndarray, count: int, seed: int) -> None:
    found = kmeans(points, count, seed)
    squared = np.square(points[:, None] - found.centroids[None]).sum(-1)
    assert found.labels.tolist() == squared.argmin(1).tolist()
    np.testing.assert_allclose(found.distances, squared.min(1))
    for number, centroid in enumerate(found.centroids):
        if (members := points[found.labels == number]).size:
            np.testing.assert_allclose(centroid, members.mean(0))
    again = kmeans(points, count, seed)
    assert again.labels.tolist() == found.labels.tolist()
    assert len(found.centroids) <= min(count, len(points))


def best_inertia(points: np.ndarray, count: int) -> float:
    """By looking at every partition."""
    inertias = []
    for labels in product(range(count), repeat=len(points)):
        groups = [points[np.array(labels) == number] for number in range(count)]
        inertias.append(sum(float(np.square(group - group.mean(0)).sum()) for group in groups if len(group)))
    return min(inertias)


@pytest.mark.parametrize("seed", range(5))
def test_separate_groups_are_found(seed: int) -> None:
    random = np.random.default_rng(seed)
    points = np.concatenate([random.normal(centre, 0.1, (3, 2)) for centre in ([0, 0], [9, 0], [0, 9])])
    found = kmeans(points, 3, seed)
    assert found.inertia == pytest.approx(best_inertia(points, 3))


@given(POINTS, st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_it_is_near_the_best_partition(points: np.ndarray, seed: int) -> None:
    """k-means++ promises 8 (ln k + 2) times the best, on average; Lloyd's iterations only improve it."""
    points = points[:7]
    assert np.mean([kmeans(points, 2, each).inertia for each in range(8)]) <= 8 * 2.7 * best_inertia(points, 2) + 1e-9


@pytest.mark.parametrize("seed", range(10))
def test_no_start_is_chosen_twice(seed: int) -> None:
    """Each further centroid lies where none is yet: a chance of 0 next to one."""
    points = np.repeat(np.arange(8.0)[:, None] ** 2, 5, 0)
    assert kmeans(points, 8, seed).inertia == 0


def test_points_that_repeat_make_fewer_clusters() -> None:
    found = kmeans(np.zeros((5, 3)), 4, 0)
    assert found.inertia == 0
    assert len(found.centroids) == 1


def test_blocks_of_distances_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(40, 3))
    whole = kmeans(points, 5, 1)
    monkeypatch.setattr(module, "_BLOCK", 12)
    parts = kmeans(points, 5, 1)
    assert parts.labels.tolist() == whole.labels.tolist()
    assert parts.distances.tolist() == whole.distances.tolist()
