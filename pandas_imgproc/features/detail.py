"""Measures of the detail of an image, of its grey levels at the working size.

Each is a function of one array: uint8, shape (height, width), grey levels as Pillow's "L" has them (ITU-R 601 luma,
rounded). All of them depend on the scale: the same image at half the size has another blur.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from pandas_imgproc.features.color import spread, sum_of_squares
from pandas_imgproc.features.registry import _builtin_feature

Grey = np.ndarray[Any, np.dtype[np.uint8]]

SHARPNESS_EDGE = 64
"""Pixels of the longest edge at which `sharpness` is measured, as in cleanvision."""

_NORMALIZING, _STEEP = 0.01, 0.18


def _counts(grey: Grey) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.bincount(grey.ravel(), minlength=256)


@_builtin_feature("contrast", "entropy", input="grey")
def contrast_and_entropy(grey: Grey) -> tuple[float, float]:
    """RMS contrast, and the entropy of the histogram.

    Contrast: standard deviation of the grey levels / 255; 0 (one level) to 0.5 (half black, half white). Source:
    Peli, "Contrast in complex images", JOSA A 1990. Entropy: -Σ p log2 p over the 256 levels, in bits; 0 (one level)
    to 8. Source: Shannon 1948; as `PIL.Image.Image.entropy` of mode "L".
    """
    counts, levels = _counts(grey), np.arange(256)
    n, total, squares = grey.size, int(counts @ levels), int(counts @ levels**2)
    contrast = math.sqrt(n * squares - total**2) / n / 255
    shares = counts[counts > 0] / n
    return contrast, abs(float(shares @ np.log2(shares)))


@_builtin_feature("blur", input="grey")
def blur(grey: Grey) -> float:
    """Variance of the Laplacian (four neighbours, edges mirrored), in levels²; 0 (one level) up; low is blurred.

    As ``cv2.Laplacian(grey, cv2.CV_64F).var()``. It depends on the scale: compare it at one working size only. Source:
    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    around = np.pad(grey.astype(np.int16), 1, mode="reflect")
    middle = around[1:-1, 1:-1]
    laplacian = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:] - 4 * middle
    return spread(int(laplacian.sum(dtype=np.int64)), sum_of_squares(laplacian), grey.size) ** 2


@_builtin_feature("sharpness", input="grey")
def sharpness(grey: Grey) -> float:
    """Score of sharpness by cleanvision, at 64 pixels on the longest edge: 0 (blurred) to 1.

    min(1, (1 - exp(-0.01 E)) + (1 - exp(-0.01 H))), the second term only where it is above 0.18. E is the standard
    deviation of the edges (`PIL.ImageFilter.FIND_EDGES`), H that of the 256 counts of the histogram. An image is
    called blurred below 0.29. Source: cleanvision 0.3.6, ``BlurrinessProperty``.
    """
    image = _small(Image.fromarray(grey), SHARPNESS_EDGE)
    edges = np.asarray(image.filter(ImageFilter.FIND_EDGES))
    score, histogram = (1 - math.exp(-_NORMALIZING * float(np.std(of))) for of in (edges, image.histogram()))
    return min(1.0, score + (histogram if histogram > _STEEP else 0.0))


def _small(image: Image.Image, longest: int) -> Image.Image:
    ratio = max(image.size) / longest
    if ratio <= 1:
        return image
    return image.resize((max(int(image.width // ratio), 1), max(int(image.height // ratio), 1)))
