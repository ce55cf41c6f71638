"""Hashes: of the whole upright image, so that they are those of other tools, and of the file."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from PIL import Image

from pandas_imgproc.features.registry import _builtin_feature

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 8
"""Rows and columns of a hash: 64 bits."""


@_builtin_feature("phash", dtype="UInt64", input="full_grey")
def phash(grey: Array) -> int:
    """Perceptual hash of 64 bits: which of the 8 x 8 lowest cosine frequencies of 32 x 32 pixels exceed their median.

    Bit for bit ``int(str(imagehash.phash(image)), 16)``, the first bit the highest. Source: Krawetz, "Looks Like It",
    2011; imagehash 4.3.
    """
    pixels = _resized(grey, 4 * SIDE, 4 * SIDE).astype(np.float64)
    low = cosines(cosines(pixels.T).T)[:SIDE, :SIDE]
    return _number(low > np.median(low))


@_builtin_feature("dhash", dtype="UInt64", input="full_grey")
def dhash(grey: Array) -> int:
    """Difference hash of 64 bits: which of 9 x 8 pixels is brighter than the one to its left.

    Bit for bit ``int(str(imagehash.dhash(image)), 16)``. Source: Krawetz, "Kind of Like That", 2013; imagehash 4.3.
    """
    pixels = _resized(grey, SIDE + 1, SIDE)
    return _number(pixels[:, 1:] > pixels[:, :-1])


@_builtin_feature("ahash", dtype="UInt64", input="full_grey")
def ahash(grey: Array) -> int:
    """Average hash of 64 bits: which of 8 x 8 pixels is brighter than their mean.

    Bit for bit ``int(str(imagehash.average_hash(image)), 16)``. Source: as `phash`.
    """
    pixels = _resized(grey, SIDE, SIDE)
    return _number(pixels > pixels.mean())


@_builtin_feature("md5", dtype="string", input="bytes", max_bytes=32)
def md5(data: bytes | None) -> str | None:
    """MD5 of the file's bytes, 32 hexadecimal digits; missing for an image that is in memory already."""
    return None if data is None else hashlib.md5(data, usedforsecurity=False).hexdigest()


@_builtin_feature("pixel_md5", dtype="string", input="full", max_bytes=32)
def pixel_md5(pixels: Array) -> str:
    """MD5 of the upright RGB image as a binary PPM file (P6), 32 hexadecimal digits.

    The head of that file holds width and height, so that two black images of other shapes differ. Equal for the
    same pixels in another format, and ``md5sum`` of what ``image.save("x.ppm")`` writes.
    """
    found = hashlib.md5(b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]), usedforsecurity=False)
    found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest()


def _resized(grey: Array, width: int, height: int) -> Array:
    return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.LANCZOS))


def _number(bits: Array) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _turns(n: int) -> Array:
    """Return cos(2 π k / 4n) for k from 1 to n - 1, to the last bit as SciPy's pocketfft has them (n up to 32)."""
    angle = 0.25 * math.pi / (4 * n)
    found = []
    for k in range(1, n):
        # It multiplies two tables, of 16 fine steps and of eighths of a turn, rather than taking each cosine.
        fine = 8 * (k % 16) * angle
        eighth = 128 * angle
        found.append(
            math.cos(fine) if k < 16 else math.cos(fine) * math.sin(eighth) - math.sin(fine) * math.cos(eighth)
        )
    return np.array(found)


_TURNS = _turns(4 * SIDE)


def cosines(rows: Array) -> Array:
    """Return the discrete cosine transform (type 2, not normalised) of rows of 32 values.

    To the last bit what ``scipy.fftpack.dct`` gives: in an image that is symmetric, or of one level, half of the
    frequencies are 0 but for rounding, and so is the median that a hash compares them to. It is the same algorithm by
    the same FFT, which NumPy shares: Makhoul, "A fast cosine transform in one and two dimensions", 1980.
    """
    n = rows.shape[-1]
    half = n // 2
    odd, even = rows[:, 1:-1:2], rows[:, 2:-1:2]
    spectrum = np.zeros((len(rows), half + 1), dtype=np.complex128)
    spectrum.real[:, 0], spectrum.real[:, half] = 2 * rows[:, 0], 2 * rows[:, -1]
    spectrum.real[:, 1:half], spectrum.imag[:, 1:half] = even + odd, even - odd
    values = np.fft.irfft(spectrum, n, norm="forward")
    up, down = values[:, 1:half], values[:, :half:-1]
    turns, back = _TURNS[: half - 1], _TURNS[: half - 1 : -1]
    first, second = turns * down + back * up, turns * up - back * down
    found = values.copy()
    found[:, 1:half], found[:, :half:-1] = 0.5 * (first + second), 0.5 * (first - second)
    found[:, half] *= _TURNS[half - 1]
    return found
