"""Features of the colors of an image, at the working size.

Each is a function of one array: uint8, shape (height, width, 3), RGB, of any strides; fastest when each channel is
contiguous. Levels are 0 to 255. Sums and sums of squares are integers, so that an image of one color has a standard
deviation of exactly 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pandas_imgproc.features.registry import _builtin_feature

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Numbers = np.ndarray[Any, np.dtype[Any]]

DARK_LEVEL, LIGHT_LEVEL = 20, 240
PERCENTILES = (1, 5, 50, 95, 99)


def channel_planes(pixels: Pixels) -> Pixels:
    """Return the contiguous channels: ndarray of uint8, shape (3, height * width)."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(3, -1)


def channel_means(pixels: Pixels) -> list[float]:
    """Return the mean level of each channel."""
    planes = channel_planes(pixels)
    return [float(total) / planes.shape[1] for total in planes.sum(axis=1, dtype=np.int64)]


def sum_of_squares(levels: Numbers) -> float:
    """Return the exact sum of the squares of integers."""
    # Not by a dot product: BLAS starts threads for it, which on a busy machine took fifty times as long as the sum.
    return float(np.square(levels, dtype=np.float64).sum())


def std_from_sums(total: float, squares: float, n: int) -> float:
    """Return the standard deviation of n integers from their sum and their sum of squares."""
    # Integer arithmetic: 0 is exactly 0, and the difference of two large numbers loses nothing.
    return math.sqrt(max(0, int(n) * int(squares) - int(total) ** 2)) / n


@_builtin_feature("brightness")
def brightness(pixels: Pixels) -> float:
    """Return the perceived brightness of the mean color: sqrt(0.241 R² + 0.691 G² + 0.068 B²) / 255.

    R, G, B are the channels' means; 0 (black) to 1 (white). Source: Darel Rex Finley, "HSP Color Model", 2006; the
    weights as in cleanvision.
    """
    red, green, blue = channel_means(pixels)
    return math.sqrt(0.241 * red**2 + 0.691 * green**2 + 0.068 * blue**2) / 255


@_builtin_feature(*(f"brightness_p{percent:02d}" for percent in PERCENTILES))
def brightness_percentiles(pixels: Pixels) -> Any:
    """Return the percentiles 1, 5, 50, 95 and 99 of the brightness of the pixels; 0 to 1.

    The brightness of a pixel is sqrt(0.241 R² + 0.691 G² + 0.068 B²) / 255; between two pixels a percentile is
    interpolated linearly, as in `numpy.percentile`. Source: as `brightness`.
    """
    squares = np.square(channel_planes(pixels), dtype=np.int32)
    levels = 241 * squares[0] + 691 * squares[1] + 68 * squares[2]
    levels.sort()  # integers sort twice as fast as their roots, and in the same order
    ranks = np.array(PERCENTILES) / 100 * (len(levels) - 1)
    below = np.floor(ranks).astype(int)
    above = np.minimum(below + 1, len(levels) - 1)
    low, high = (np.sqrt(levels[index] / 1000) / 255 for index in (below, above))
    return (low + (high - low) * (ranks - below)).tolist()


@_builtin_feature("mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b")
def channel_statistics(pixels: Pixels) -> list[float]:
    """Return mean and population standard deviation of each channel, in levels; 0 to 255 and 0 to 127.5."""
    planes = channel_planes(pixels)
    n = planes.shape[1]
    totals, squares = planes.sum(axis=1, dtype=np.int64), [sum_of_squares(plane) for plane in planes]
    deviations = [std_from_sums(total, square, n) for total, square in zip(totals, squares, strict=True)]
    return [*(totals / n).tolist(), *deviations]


@_builtin_feature("hue")
def hue(pixels: Pixels) -> float | None:
    """Return the chroma-weighted circular mean of the hue: atan2(sqrt(3) (G - B), 2 R - G - B), in degrees, 0 to 360.

    R, G, B are the channels' means. 0 is red, 120 green, 240 blue. It is the direction of the sum of all pixels as
    vectors in the chromatic plane, so that the hue of nearly gray pixels, which is noise, has no weight. Missing for
    a grayscale image, and where the colors cancel each other exactly. Source: Hanbury, "Circular Statistics Applied to
    Colour Images", CVWW 2003.
    """
    red, green, blue = (int(total) for total in channel_planes(pixels).sum(axis=1, dtype=np.int64))
    y, x = math.sqrt(3) * (green - blue), 2 * red - green - blue
    return math.degrees(math.atan2(y, x)) % 360 if y or x else None


_INVERSE = np.divide(1, np.arange(256), out=np.zeros(256), where=np.arange(256) > 0)


@_builtin_feature("saturation")
def saturation(pixels: Pixels) -> float:
    """Return the mean of the pixels' saturation in HSV, (max - min) / max, 0 for black; 0 to 1.

    Source: Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978.
    """
    planes = channel_planes(pixels)
    maxima = planes.max(axis=0)
    return float((_INVERSE[maxima] * (maxima - planes.min(axis=0))).sum()) / len(maxima)


@_builtin_feature("colorfulness")
def colorfulness(pixels: Pixels) -> float:
    """Return sqrt(std(rg)² + std(yb)²) + 0.3 sqrt(mean(rg)² + mean(yb)²), in levels: 0 to about 200.

    With rg = R - G and yb = (R + G) / 2 - B of each pixel. 0 is grayscale; 15 is called slightly, 45 quite, 82 highly
    and 109 extremely colorful. Source: Hasler and Süsstrunk, "Measuring colourfulness in natural images", Human Vision
    and Electronic Imaging 2003.
    """
    red, green, blue = channel_planes(pixels).astype(np.int16)
    n = len(red)
    rg, yb2 = red - green, red + green - 2 * blue  # yb2 is twice yb, an integer
    rg_total, yb2_total = int(rg.sum(dtype=np.int64)), int(yb2.sum(dtype=np.int64))
    rg_std = std_from_sums(rg_total, sum_of_squares(rg), n)
    yb_std = std_from_sums(yb2_total, sum_of_squares(yb2), n) / 2
    return float(math.hypot(rg_std, yb_std) + 0.3 * math.hypot(rg_total / n, yb2_total / n / 2))


@_builtin_feature("dullness")
def dullness(pixels: Pixels) -> float:
    """Return the share of nearly black pixels: all channels at most 20; 0 to 1.

    Source: "Ideas for Image Features and Image Quality", Kaggle, Avito Demand Prediction 2018, there in percent and
    of the most frequent colors only.
    """
    maxima = channel_planes(pixels).max(axis=0)
    return np.count_nonzero(maxima <= DARK_LEVEL) / len(maxima)


@_builtin_feature("whiteness")
def whiteness(pixels: Pixels) -> float:
    """Return the share of nearly white pixels: all channels at least 240; 0 to 1. Source: as `dullness`."""
    minima = channel_planes(pixels).min(axis=0)
    return np.count_nonzero(minima >= LIGHT_LEVEL) / len(minima)


@_builtin_feature("is_grayscale", dtype="boolean")
def is_grayscale(pixels: Pixels) -> bool:
    """Return whether the channels of every pixel are equal, whichever the mode of the file."""
    red, green, blue = channel_planes(pixels)
    return np.array_equal(red, green) and np.array_equal(green, blue)
