"""Dominant color of an image, by deterministic k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.features.registry import _builtin_feature

if TYPE_CHECKING:
    from pandas_imgproc.features.color import Numbers, Pixels

N_CLUSTERS, MAX_ITERATIONS, STRIDE = 5, 10, 4
BIN_WIDTH = 16
N_BINS = 256 // BIN_WIDTH


@_builtin_feature("dominant_r", "dominant_g", "dominant_b")
def dominant_color(pixels: Pixels) -> Any:
    """Return the mean color of the largest of at most five clusters of colors (k-means), in levels; 0 to 255.

    Of every fourth pixel of every fourth row, colors that agree in the upper four bits of each channel are binned to
    their mean. K-means (Lloyd 1982) runs on these means, weighted by their counts, for at most ten iterations. The
    first center is the most frequent mean, each further one that with the largest count times squared distance to the
    nearest center; nothing is random. Of equal clusters the first one wins. Weights are exact, so an image of one
    color has exactly that one.
    """
    colors, weights = histogram(pixels[::STRIDE, ::STRIDE])
    centers = initial_centers(colors, weights)
    labels = distances(colors, centers).argmin(axis=1)
    for _ in range(MAX_ITERATIONS):
        centers = update_centers(colors, weights, labels, centers)
        previous, labels = labels, distances(colors, centers).argmin(axis=1)
        if np.array_equal(previous, labels):
            break
    sizes = np.bincount(labels, weights=weights, minlength=len(centers))
    return centers[int(sizes.argmax())].tolist()


def histogram(pixels: Pixels) -> tuple[Numbers, Numbers]:
    """Return the mean color and the count of each bin that is not empty, of 16 x 16 x 16."""
    flat = pixels.reshape(-1, 3)
    red, green, blue = (flat // BIN_WIDTH).T.astype(np.int64)
    bins = (red * N_BINS + green) * N_BINS + blue
    counts = np.bincount(bins, minlength=N_BINS**3)
    nonempty = np.flatnonzero(counts)
    sums = np.stack([np.bincount(bins, channel, N_BINS**3)[nonempty] for channel in flat.T], axis=1)
    return sums / counts[nonempty, np.newaxis], counts[nonempty].astype(np.float64)


def initial_centers(colors: Numbers, weights: Numbers) -> Numbers:
    """Return the first centers of k-means: frequent colors at large distances."""
    chosen = [int(weights.argmax())]
    nearest = np.full(len(colors), np.inf)
    while len(chosen) < min(N_CLUSTERS, len(colors)):
        nearest = np.minimum(nearest, ((colors - colors[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int((nearest * weights).argmax()))
    return colors[chosen]


def distances(colors: Numbers, centers: Numbers) -> Any:
    """Return squared distances, less the term that is equal for all centers: shape (colors, centers)."""
    return (centers**2).sum(axis=1) - 2 * (colors @ centers.T)


def update_centers(colors: Numbers, weights: Numbers, labels: Numbers, centers: Numbers) -> Numbers:
    """Return the centers as the means of their clusters; that of an empty cluster does not change."""
    members = (labels == np.arange(len(centers))[:, np.newaxis]) * weights
    sizes = members.sum(axis=1)[:, np.newaxis]
    return np.where(sizes > 0, members @ colors / np.maximum(sizes, 1), centers)
