"""The dominant colour of an image, by k-means that gives the same answer each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pandas_imgproc.features.registry import _builtin_feature

if TYPE_CHECKING:
    from pandas_imgproc.features.color import Numbers, Pixels

CLUSTERS, ROUNDS, EVERY, LEVELS = 5, 10, 4, 16


@_builtin_feature("dominant_r", "dominant_g", "dominant_b")
def dominant_colour(pixels: Pixels) -> list[float]:
    """Mean colour of the largest of at most five clusters of colours (k-means), in levels; 0 to 255.

    Of every fourth pixel of every fourth row, colours that agree in the upper four bits of each channel are gathered
    into their mean. K-means (Lloyd 1982) runs on these means, weighted by their pixels, for at most ten rounds. It
    starts with the most frequent and then with whichever has the most pixels times squared distance to the nearest
    start; nothing is random. Of equal clusters the one that started first wins. Weights are exact, so an image of
    one colour has exactly that.
    """
    colours, weights = gathered(pixels[::EVERY, ::EVERY])
    centres = starts(colours, weights)
    nearest = distances(colours, centres).argmin(axis=1)
    for _ in range(ROUNDS):
        centres = moved(colours, weights, nearest, centres)
        before, nearest = nearest, distances(colours, centres).argmin(axis=1)
        if np.array_equal(before, nearest):
            break
    sizes = np.bincount(nearest, weights=weights, minlength=len(centres))
    found: list[float] = centres[int(sizes.argmax())].tolist()
    return found


def gathered(pixels: Pixels) -> tuple[Numbers, Numbers]:
    """Return the mean colours of the cells of a 16 x 16 x 16 grid that hold any pixels, and how many each holds."""
    flat = pixels.reshape(-1, 3)
    red, green, blue = (flat // LEVELS).T.astype(np.int64)
    cell = (red * LEVELS + green) * LEVELS + blue
    counts = np.bincount(cell, minlength=LEVELS**3)
    held = np.flatnonzero(counts)
    sums = np.stack([np.bincount(cell, channel, LEVELS**3)[held] for channel in flat.T], axis=1)
    return sums / counts[held, np.newaxis], counts[held].astype(np.float64)


def starts(colours: Numbers, weights: Numbers) -> Numbers:
    """Return the colours that k-means starts with: far apart and frequent."""
    chosen = [int(weights.argmax())]
    away = np.full(len(colours), np.inf)
    while len(chosen) < min(CLUSTERS, len(colours)):
        away = np.minimum(away, ((colours - colours[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int((away * weights).argmax()))
    return colours[chosen]


def distances(colours: Numbers, centres: Numbers) -> Numbers:
    """Return squared distances, less what is the same for all centres: shape (colours, centres)."""
    found: Numbers = (centres**2).sum(axis=1) - 2 * (colours @ centres.T)
    return found


def moved(colours: Numbers, weights: Numbers, nearest: Numbers, centres: Numbers) -> Numbers:
    """Return the centres as the means of what is nearest to them; one with nothing stays."""
    belongs = (nearest == np.arange(len(centres))[:, np.newaxis]) * weights
    sizes = belongs.sum(axis=1)[:, np.newaxis]
    return np.where(sizes > 0, belongs @ colours / np.maximum(sizes, 1), centres)
