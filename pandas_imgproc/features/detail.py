"""Features of the detail of an image, from its gray levels at the working size.

Each is a function of one array: uint8, shape (height, width), gray levels as in Pillow's mode "L" (ITU-R 601 luma,
rounded). All of them depend on the scale: the same image at half the size has another blur.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from pandas_imgproc.features.color import std_from_sums, sum_of_squares
from pandas_imgproc.features.registry import _builtin_feature

Gray = np.ndarray[Any, np.dtype[np.uint8]]

SHARPNESS_EDGE = 64
"""Longest edge in pixels at which `sharpness` is computed, as in cleanvision."""

_NORMALIZING_FACTOR, _HISTOGRAM_THRESHOLD = 0.01, 0.18


@_builtin_feature("contrast", "entropy", input="grey")
def contrast_and_entropy(gray: Gray) -> tuple[float, float]:
    """Return the RMS contrast, and the entropy of the histogram.

    Contrast: standard deviation of the gray levels / 255; 0 (one level) to 0.5 (half black, half white). Source:
    Peli, "Contrast in complex images", JOSA A 1990. Entropy: -Σ p log2 p over the 256 levels, in bits; 0 (one level)
    to 8. Source: Shannon 1948; as `PIL.Image.Image.entropy` of mode "L".
    """
    counts, levels = np.bincount(gray.ravel(), minlength=256), np.arange(256)
    n, total, squares = gray.size, int(counts @ levels), int(counts @ levels**2)
    contrast = math.sqrt(n * squares - total**2) / n / 255
    shares = counts[counts > 0] / n
    return contrast, abs(float(shares @ np.log2(shares)))


@_builtin_feature("blur", input="grey")
def blur(gray: Gray) -> float:
    """Return the variance of the Laplacian (four neighbors, mirrored edges), in levels²; 0 (one level) up.

    Low is blurred. As ``cv2.Laplacian(gray, cv2.CV_64F).var()``. It depends on the scale: compare it at one working
    size only. Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    padded = np.pad(gray.astype(np.int16), 1, mode="reflect")
    center = padded[1:-1, 1:-1]
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * center
    return std_from_sums(int(laplacian.sum(dtype=np.int64)), sum_of_squares(laplacian), gray.size) ** 2


@_builtin_feature("sharpness", input="grey")
def sharpness(gray: Gray) -> float:
    """Return cleanvision's sharpness score, at 64 pixels on the longest edge: 0 (blurred) to 1.

    min(1, (1 - exp(-0.01 E)) + (1 - exp(-0.01 H))), the second term only where it is above 0.18. E is the standard
    deviation of the edges (`PIL.ImageFilter.FIND_EDGES`), H that of the 256 counts of the histogram. An image is
    called blurred below 0.29. Source: cleanvision 0.3.6, ``BlurrinessProperty``.
    """
    image = _shrink(Image.fromarray(gray), SHARPNESS_EDGE)
    edges = np.asarray(image.filter(ImageFilter.FIND_EDGES))
    edge_score, histogram_score = (
        1 - math.exp(-_NORMALIZING_FACTOR * float(np.std(values))) for values in (edges, image.histogram())
    )
    return min(1.0, edge_score + (histogram_score if histogram_score > _HISTOGRAM_THRESHOLD else 0.0))


def _shrink(image: Image.Image, max_edge: int) -> Image.Image:
    ratio = max(image.size) / max_edge
    if ratio <= 1:
        return image
    return image.resize((max(int(image.width // ratio), 1), max(int(image.height // ratio), 1)))
