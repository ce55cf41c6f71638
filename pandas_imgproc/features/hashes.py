"""Hashes of the upright image at its original size, equal to those of other tools, and of the file."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from PIL import Image

from pandas_imgproc.features.registry import _builtin_feature

Array = np.ndarray[Any, np.dtype[Any]]

HASH_FEATURES = ("phash", "dhash", "ahash", "md5", "pixel_md5")
"""Names of the features that are hashes."""

HASH_SIZE = 8
"""Rows and columns of a hash: 64 bits."""


@_builtin_feature("phash", dtype="UInt64", input="full_grey")
def phash(gray: Array) -> int:
    """Return the 64-bit perceptual hash: 1 for each of the 8 x 8 lowest frequencies of 32 x 32 pixels above the median.

    Bit for bit ``int(str(imagehash.phash(image)), 16)``, the first bit the highest. Source: Krawetz, "Looks Like It",
    2011; imagehash 4.3.
    """
    pixels = _resize(gray, 4 * HASH_SIZE, 4 * HASH_SIZE).astype(np.float64)
    low = dct2(dct2(pixels.T).T)[:HASH_SIZE, :HASH_SIZE]
    return _to_int(low > np.median(low))


@_builtin_feature("dhash", dtype="UInt64", input="full_grey")
def dhash(gray: Array) -> int:
    """Return the 64-bit difference hash: 1 for each of 9 x 8 pixels that is brighter than its left neighbor.

    Bit for bit ``int(str(imagehash.dhash(image)), 16)``. Source: Krawetz, "Kind of Like That", 2013; imagehash 4.3.
    """
    pixels = _resize(gray, HASH_SIZE + 1, HASH_SIZE)
    return _to_int(pixels[:, 1:] > pixels[:, :-1])


@_builtin_feature("ahash", dtype="UInt64", input="full_grey")
def ahash(gray: Array) -> int:
    """Return the 64-bit average hash: 1 for each of 8 x 8 pixels that is brighter than their mean.

    Bit for bit ``int(str(imagehash.average_hash(image)), 16)``. Source: as `phash`.
    """
    pixels = _resize(gray, HASH_SIZE, HASH_SIZE)
    return _to_int(pixels > pixels.mean())


@_builtin_feature("md5", dtype="string", input="bytes", max_bytes=32)
def md5(data: bytes | None) -> str | None:
    """Return the MD5 of the file's bytes, 32 hexadecimal digits; None for an image in memory."""
    return None if data is None else hashlib.md5(data, usedforsecurity=False).hexdigest()


@_builtin_feature("pixel_md5", dtype="string", input="full", max_bytes=32)
def pixel_md5(pixels: Array) -> str:
    """Return the MD5 of the upright RGB image as a binary PPM file (P6), 32 hexadecimal digits.

    The header of that file holds width and height, so that two black images of different shapes differ. It is equal
    for the same pixels in another format, and to ``md5sum`` of the file that ``image.save("x.ppm")`` writes.
    """
    digest = hashlib.md5(b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]), usedforsecurity=False)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _resize(gray: Array, width: int, height: int) -> Array:
    return np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.LANCZOS))


def _to_int(bits: Array) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _twiddles(n: int) -> Array:
    """Return the twiddle factors cos(2 π k / 4n) for k from 1 to n - 1, bit-exact to SciPy's pocketfft (n up to 32)."""
    # pocketfft multiplies two tables, of 16 fine steps and of eighths of a turn, instead of computing each cosine.
    angle = 0.25 * math.pi / (4 * n)
    sin, cos = math.sin(128 * angle), math.cos(128 * angle)
    fine = [8 * (k % 16) * angle for k in range(n)]
    return np.array([math.cos(a) if k < 16 else math.cos(a) * sin - math.sin(a) * cos for k, a in enumerate(fine)][1:])


_TWIDDLES = _twiddles(4 * HASH_SIZE)


def dct2(rows: Array) -> Array:
    """Return the discrete cosine transform (type 2, not normalized) of rows of 32 values.

    Bit-exact to ``scipy.fftpack.dct``, because in an image that is symmetric, or of one level, half of the frequencies
    are 0 except for rounding, and so is the median that a hash compares them to. It is the same algorithm by the same
    FFT, which NumPy shares: Makhoul, "A fast cosine transform in one and two dimensions", 1980.
    """
    n = rows.shape[-1]
    half = n // 2
    odd, even = rows[:, 1:-1:2], rows[:, 2:-1:2]
    spectrum = np.zeros((len(rows), half + 1), dtype=np.complex128)
    spectrum.real[:, 0], spectrum.real[:, half] = 2 * rows[:, 0], 2 * rows[:, -1]
    spectrum.real[:, 1:half], spectrum.imag[:, 1:half] = even + odd, even - odd
    values = np.fft.irfft(spectrum, n, norm="forward")
    up, down = values[:, 1:half], values[:, :half:-1]
    forward, backward = _TWIDDLES[: half - 1], _TWIDDLES[: half - 1 : -1]
    a, b = forward * down + backward * up, forward * up - backward * down
    transformed = values.copy()
    transformed[:, 1:half], transformed[:, :half:-1] = 0.5 * (a + b), 0.5 * (a - b)
    transformed[:, half] *= _TWIDDLES[half - 1]
    return transformed
