"""Measures of the colours of an image, at the working size.

Each is a function of one array: uint8, shape (height, width, 3), RGB, of any strides; quickest when each channel lies
in one piece. Levels are 0 to 255. Sums and sums of squares are whole numbers, so that an image of one colour has a
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


def planes(pixels: Pixels) -> Pixels:
    """Return the channels one after another: ndarray of uint8, shape (3, height * width)."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(3, -1)


def means(pixels: Pixels) -> list[float]:
    """Return the mean level of each channel."""
    channels = planes(pixels)
    return [float(total) / channels.shape[1] for total in channels.sum(axis=1, dtype=np.int64)]


def sum_of_squares(levels: Numbers) -> float:
    """Return the sum of the squares of whole numbers, exactly."""
    # Not by a dot product: BLAS starts threads for it, which on a busy machine took fifty times as long as the sum.
    return float(np.square(levels, dtype=np.float64).sum())


def spread(total: float, of_squares: float, n: int) -> float:
    """Return the standard deviation, from a sum, a sum of squares and their number."""
    # Whole numbers: what is 0 is exactly 0, and nothing is lost by taking a difference of large ones.
    return math.sqrt(max(0, int(n) * int(of_squares) - int(total) ** 2)) / n


@_builtin_feature("brightness")
def brightness(pixels: Pixels) -> float:
    """Perceived brightness of the mean colour: sqrt(0.241 R² + 0.691 G² + 0.068 B²) / 255.

    R, G, B are the channels' means; 0 (black) to 1 (white). Source: Darel Rex Finley, "HSP Color Model", 2006; the
    weights as in cleanvision.
    """
    red, green, blue = means(pixels)
    return math.sqrt(0.241 * red**2 + 0.691 * green**2 + 0.068 * blue**2) / 255


@_builtin_feature(*(f"brightness_p{percent:02d}" for percent in PERCENTILES))
def brightness_percentiles(pixels: Pixels) -> list[float]:
    """Percentiles 1, 5, 50, 95 and 99 of the brightness of the pixels; 0 to 1.

    The brightness of a pixel is sqrt(0.241 R² + 0.691 G² + 0.068 B²) / 255; between two pixels a percentile is
    interpolated linearly, as `numpy.percentile` does. Source: as `brightness`.
    """
    squares = np.square(planes(pixels), dtype=np.int32)
    levels = 241 * squares[0] + 691 * squares[1] + 68 * squares[2]
    levels.sort()  # of whole numbers: twice as fast as of their roots, and in the same order
    places = np.array(PERCENTILES) / 100 * (len(levels) - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(levels) - 1)
    low, high = (np.sqrt(levels[where] / 1000) / 255 for where in (below, above))
    found: list[float] = (low + (high - low) * (places - below)).tolist()
    return found


@_builtin_feature("mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b")
def channel_statistics(pixels: Pixels) -> list[float]:
    """Mean and standard deviation (of the population) of each channel, in levels; 0 to 255 and 0 to 127.5."""
    channels = planes(pixels)
    n = channels.shape[1]
    totals, squares = channels.sum(axis=1, dtype=np.int64), [sum_of_squares(channel) for channel in channels]
    spreads = [spread(total, square, n) for total, square in zip(totals, squares, strict=True)]
    return [*(totals / n).tolist(), *spreads]


@_builtin_feature("hue")
def hue(pixels: Pixels) -> float | None:
    """Circular mean of the hue, weighted by chroma: atan2(sqrt(3) (G - B), 2 R - G - B), in degrees, 0 to 360.

    R, G, B are the channels' means. 0 is red, 120 green, 240 blue. It is the direction of the sum of all pixels as
    vectors in the chromatic plane, so that the hue of nearly grey pixels, which is noise, has no weight. Missing for
    a grey image, and where the colours cancel each other exactly. Source: Hanbury, "Circular Statistics Applied to
    Colour Images", CVWW 2003.
    """
    red, green, blue = (int(total) for total in planes(pixels).sum(axis=1, dtype=np.int64))
    across, along = math.sqrt(3) * (green - blue), 2 * red - green - blue
    return math.degrees(math.atan2(across, along)) % 360 if across or along else None


_INVERSE = np.divide(1, np.arange(256), out=np.zeros(256), where=np.arange(256) > 0)


@_builtin_feature("saturation")
def saturation(pixels: Pixels) -> float:
    """Mean of the pixels' saturation in HSV, (max - min) / max, 0 for black; 0 to 1.

    Source: Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978.
    """
    channels = planes(pixels)
    most = channels.max(axis=0)
    return float((_INVERSE[most] * (most - channels.min(axis=0))).sum()) / len(most)


@_builtin_feature("colorfulness")
def colorfulness(pixels: Pixels) -> float:
    """sqrt(std(rg)² + std(yb)²) + 0.3 sqrt(mean(rg)² + mean(yb)²), in levels: 0 to about 200.

    With rg = R - G and yb = (R + G) / 2 - B of each pixel. 0 is grey; 15 is called slightly, 45 quite, 82 highly and
    109 extremely colorful. Source: Hasler and Süsstrunk, "Measuring colourfulness in natural
    images", Human Vision and Electronic Imaging 2003.
    """
    red, green, blue = planes(pixels).astype(np.int16)
    n = len(red)
    red_green, yellow_blue = red - green, red + green - 2 * blue
    totals = int(red_green.sum(dtype=np.int64)), int(yellow_blue.sum(dtype=np.int64))
    # yb is summed twice as large, in whole numbers
    squares = sum_of_squares(red_green), sum_of_squares(yellow_blue)
    deviations = spread(totals[0], squares[0], n), spread(totals[1], squares[1], n) / 2
    return float(math.hypot(*deviations) + 0.3 * math.hypot(totals[0] / n, totals[1] / n / 2))


@_builtin_feature("dullness")
def dullness(pixels: Pixels) -> float:
    """Share of the pixels that are nearly black: all channels at most 20; 0 to 1.

    Source: "Ideas for Image Features and Image Quality", Kaggle, Avito Demand Prediction 2018, there in percent and
    of the most frequent colours only.
    """
    most = planes(pixels).max(axis=0)
    return np.count_nonzero(most <= DARK_LEVEL) / len(most)


@_builtin_feature("whiteness")
def whiteness(pixels: Pixels) -> float:
    """Share of the pixels that are nearly white: all channels at least 240; 0 to 1. Source: as `dullness`."""
    least = planes(pixels).min(axis=0)
    return np.count_nonzero(least >= LIGHT_LEVEL) / len(least)


@_builtin_feature("is_grayscale", dtype="boolean")
def is_grayscale(pixels: Pixels) -> bool:
    """Whether the channels of every pixel are equal, however it is stored."""
    red, green, blue = planes(pixels)
    return np.array_equal(red, green) and np.array_equal(green, blue)
