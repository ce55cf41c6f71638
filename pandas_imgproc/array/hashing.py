"""Equality and hashing of images: by dtype, shape and every byte of the pixels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc.array.scalar import ImageCell, Pixels, is_missing

if TYPE_CHECKING:
    from collections.abc import Iterable

# A comparison allocates one boolean per byte: in chunks, so that it stays small beside the pixels.
_CHUNK_NBYTES = 1 << 24


def digests(pixels: Pixels, missing: Pixels) -> Pixels:
    """Return 16 bytes for each image and NA for a missing one: ndarray of object, shape (n,)."""
    values = (
        pd.NA if is_absent else hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for image, is_absent in zip(pixels, missing, strict=True)
    )
    return np.fromiter(values, dtype=object, count=len(pixels))


def hashes(pixels: Pixels, missing: Pixels, key: bytes) -> Pixels:
    """Return 64 bits for each image, all set for a missing one: ndarray of uint64, shape (n,)."""
    values = np.full(len(pixels), np.iinfo(np.uint64).max, dtype=np.uint64)
    for i in np.flatnonzero(~missing):
        digest = hashlib.blake2b(pixels[i].tobytes(), digest_size=8, key=key[:64]).digest()
        values[i] = int.from_bytes(digest, "little")
    return values


def first_occurrences(codes: Pixels, n: int) -> Pixels:
    """Return the first position of each of n codes; negative codes are skipped."""
    first = np.empty(n, dtype=np.intp)
    positions = np.flatnonzero(codes >= 0)[::-1]
    # Backwards, so that of equal images the first one is written last.
    first[codes[positions]] = positions
    return first


def scalars_equal(scalars: Iterable[Any], others: Iterable[Any]) -> tuple[Pixels, Pixels]:
    """Return, pair by pair, the mask of equal scalars, and the mask of missing others."""
    pairs = list(zip(scalars, others, strict=True))
    equal = [isinstance(a, ImageCell) and isinstance(b, ImageCell) and a == b for a, b in pairs]
    return np.array(equal, dtype=bool), np.array([is_missing(b) for _, b in pairs], dtype=bool)


def rows_equal(left: Pixels, right: Pixels) -> Pixels:
    """Return, row by row, whether all bytes are the same: ndarray of bool, shape (n,); `right` has n rows or one."""
    step = max(1, _CHUNK_NBYTES // max(1, left[:1].nbytes))
    equal = np.empty(len(left), dtype=bool)
    for start in range(0, len(left), step):
        rows = slice(start, start + step)
        # Bytes and not numbers, as a scalar compares: a NaN equals itself.
        differ = _as_bytes(left[rows]) != _as_bytes(right if len(right) == 1 else right[rows])
        equal[rows] = ~differ.any(axis=1)
    return equal


def _as_bytes(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
