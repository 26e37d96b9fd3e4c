"""k-means with seeded k-means++ initialization, in numpy and float64: equal points and seeds give equal clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ITERATIONS = 100
_BLOCK = 2**22
"""Number of coordinates of the points that are processed together."""


@dataclass(frozen=True)
class Clusters:
    """The result of k-means.

    labels: (points,), number of the nearest centroid, the lower one of equally near ones. distances: (points,), squared
    distance to it. Clusters without points may occur where points repeat.
    """

    centroids: np.ndarray
    labels: np.ndarray
    distances: np.ndarray

    @property
    def inertia(self) -> float:
        return float(self.distances.sum())


def kmeans(points: np.ndarray, clusters: int, seed: int) -> Clusters:
    """Cluster (points, dimensions) by Lloyd's algorithm, until no label changes or for ITERATIONS iterations."""
    points = np.asarray(points, np.float64)
    centroids = _initial_centroids(points, min(clusters, len(points)), np.random.default_rng(seed))
    labels, distances = _nearest(points, centroids)
    for _ in range(ITERATIONS):
        centroids = _means(points, labels, centroids)
        before, (labels, distances) = labels, _nearest(points, centroids)
        if np.array_equal(before, labels):
            break
    return Clusters(centroids, labels, distances)


def _initial_centroids(points: np.ndarray, clusters: int, random: np.random.Generator) -> np.ndarray:
    """Return initial centroids by k-means++ (Arthur and Vassilvitskii 2007).

    Each further centroid is drawn with probabilities proportional to the squared distances to those before.
    """
    chosen = [int(random.integers(len(points)))]
    nearest = _squared(points, points[chosen[-1]])
    while len(chosen) < clusters:
        reached = nearest.cumsum()
        if reached[-1] == 0:  # All points are centroids already.
            break
        chosen.append(min(int(np.searchsorted(reached, random.random() * reached[-1], "right")), len(points) - 1))
        nearest = np.minimum(nearest, _squared(points, points[chosen[-1]]))
    return points[chosen]


def _squared(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.square(points - centre).sum(1)


def _nearest(points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros(len(points), np.int64)
    distances = np.full(len(points), np.inf)
    step = max(1, _BLOCK // max(1, points.shape[1]))
    for start in range(0, len(points), step):
        some = slice(start, start + step)
        for number, centroid in enumerate(centroids):
            found = _squared(points[some], centroid)
            nearer = found < distances[some]
            labels[some][nearer] = number
            distances[some][nearer] = found[nearer]
    return labels, distances


def _means(points: np.ndarray, labels: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the means of the labels' points; a centroid without points is kept."""
    sums = np.zeros_like(centroids)
    np.add.at(sums, labels, points)
    counts = np.bincount(labels, minlength=len(centroids))
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centroids)
