"""When two images are the same: dtype, shape and every byte of their pixels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc.array.scalar import ImageCell, Pixels, is_missing

if TYPE_CHECKING:
    from collections.abc import Iterable

# Comparing makes one boolean a byte: in pieces, so that it stays small beside the block.
_BYTES_AT_ONCE = 1 << 24


def digests(block: Pixels, missing: Pixels) -> Pixels:
    """Return 16 bytes for each image and NA for a missing one: ndarray of object, shape (n,)."""
    values = (
        pd.NA if absent else hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for image, absent in zip(block, missing, strict=True)
    )
    return np.fromiter(values, dtype=object, count=len(block))


def hashes(block: Pixels, missing: Pixels, key: bytes) -> Pixels:
    """Return 64 bits for each image, all of them for a missing one: ndarray of uint64, shape (n,)."""
    values = np.full(len(block), np.iinfo(np.uint64).max, dtype=np.uint64)
    for row in np.flatnonzero(~missing):
        digest = hashlib.blake2b(block[row].tobytes(), digest_size=8, key=key[:64]).digest()
        values[row] = int.from_bytes(digest, "little")
    return values


def first_occurrences(codes: Pixels, n: int) -> Pixels:
    """Return the first row of each of n codes; negative codes stand for nothing."""
    first = np.empty(n, dtype=np.intp)
    rows = np.flatnonzero(codes >= 0)[::-1]
    # Backwards, so that of equal images the first one is written last.
    first[codes[rows]] = rows
    return first


def scalars_equal(cells: Iterable[Any], others: Iterable[Any]) -> tuple[Pixels, Pixels]:
    """Return, pair by pair, whether two cells are equal, and whether the other is missing."""
    pairs = [(cell, other, is_missing(other)) for cell, other in zip(cells, others, strict=True)]
    equal = [isinstance(other, ImageCell) and isinstance(cell, ImageCell) and cell == other for cell, other, _ in pairs]
    return np.array(equal, dtype=bool), np.array([absent for *_, absent in pairs], dtype=bool)


def rows_equal(left: Pixels, right: Pixels) -> Pixels:
    """Return, row by row, whether all bytes are the same.

    Parameters
    ----------
    left : ndarray, shape (n, height, width, channels)
    right : ndarray of the same dtype, shape (n, height, width, channels) or (1, height, width, channels)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    step = max(1, _BYTES_AT_ONCE // max(1, left[:1].nbytes))
    equal = np.empty(len(left), dtype=bool)
    for start in range(0, len(left), step):
        rows = slice(start, start + step)
        one, other = left[rows], right if len(right) == 1 else right[rows]
        # Bytes and not numbers, as a cell compares: a NaN equals itself.
        differ = _as_bytes(one) != _as_bytes(other)
        equal[rows] = ~differ.any(axis=1)
    return equal


def _as_bytes(block: Pixels) -> Pixels:
    return np.ascontiguousarray(block).reshape(len(block), -1).view(np.uint8)
