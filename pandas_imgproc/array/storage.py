"""Storage of an image array and its views: pixels, status and failures, copied at the first write.

::

    ImageArray ──rows──┐
    its slices ──rows──┤                       ┌── pixels   (n, h, w, c)   the caller's, until the first write
                       └──▶  PixelStorage  ────┼── status   (n,)           0 image, -1 missing, k > 0 failures[k-1]
    its copies ──────────▶ another storage,    └── failures tuple of dicts
                           same pixels
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.array.scalar import Pixels, is_missing, validate_image, validate_image_shape, validate_pixel_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pandas_imgproc.errors import Failure

MISSING = -1

MAX_COMPARED_FAILURES = 2**12
"""Failures that are compared when tables are joined: a comparison takes a microsecond, as the copy of a small image."""


class PixelStorage:
    """Storage of pixels, status and failures that an array shares with its views.

    Attributes
    ----------
    pixels : ndarray, shape (n, height, width, channels)
    status : ndarray of int32, shape (n,)
    failures : tuple of dict
    is_private : bool
        Whether the pixels were copied for a write and not exported since.
    """

    __slots__ = ("failures", "is_private", "pixels", "status")

    def __init__(self, pixels: Pixels, status: Pixels, failures: tuple[Failure, ...] = ()) -> None:
        self.pixels = pixels
        self.status = status
        self.failures = failures
        self.is_private = False

    def make_writable(self) -> None:
        """Copy shared pixels before a write."""
        if not self.is_private:
            self.pixels = self.pixels.copy()
            self.status = self.status.copy()
            self.is_private = True

    def write(self, rows: Any, pixels: Any, status: Any, failures: tuple[Failure, ...]) -> None:
        """Write pixels into rows, with a status that refers to the failures given."""
        self.make_writable()
        if failures and failures != self.failures:
            parts = [(self.status, self.failures), (status, failures)]
            (self.status, status), self.failures = concat_failures(parts)
        self.pixels[rows] = pixels
        self.status[rows] = status

    def mark_shared(self) -> None:
        """Mark the pixels as exported: the next write copies first."""
        self.is_private = False


def validate_pixels(pixels: Any) -> Pixels:
    """Return pixels in native byte order, each image contiguous; copied only if necessary."""
    array = np.asarray(pixels)
    if array.ndim != 4:
        raise ValueError(f"pixels must have the shape (n, height, width, channels), got {array.shape}")
    validate_image_shape(array.shape[1:])
    array = array.astype(validate_pixel_dtype(array.dtype), copy=False)
    # Strides between rows are fine (every second row of an array is a view), strides inside an image are not.
    return array if len(array) == 0 or array[0].flags.c_contiguous else np.ascontiguousarray(array)


def validate_status(status: Any, n: int, failures: Sequence[Failure]) -> Pixels:
    """Return the status of n rows as int32; None is n images."""
    if status is None:
        return np.zeros(n, dtype=np.int32)
    status = np.asarray(status)
    if status.dtype.kind not in "iu" and status.size:
        raise TypeError(f"status must hold integers, got dtype {status.dtype}")
    if status.shape != (n,):
        raise ValueError(f"status must have the shape ({n},), one code for each image, got {status.shape}")
    if n and not (status.min() >= MISSING and status.max() <= len(failures)):
        raise ValueError(
            f"status must lie between -1 and the number of failures, {len(failures)}; "
            f"got {status.min()} to {status.max()}"
        )
    result: Pixels = status.astype(np.int32, copy=False)
    return result


def empty_storage(n: int, subtype: np.dtype[Any], shape: tuple[int, ...]) -> PixelStorage:
    """Return the storage of n black images."""
    return PixelStorage(np.zeros((n, *shape), dtype=subtype), np.zeros(n, dtype=np.int32))


def storage_from_images(images: Sequence[Any], subtype: np.dtype[Any], shape: tuple[int, ...]) -> PixelStorage:
    """Return the storage of images and missing values, copied into one block."""
    storage = empty_storage(len(images), subtype, shape)
    for i, image in enumerate(images):
        if is_missing(image):
            storage.status[i] = MISSING
        else:
            storage.pixels[i] = validate_image(image, subtype, shape)
    return storage


def take_rows(storage: PixelStorage, positions: Pixels, *, fill: bool) -> PixelStorage:
    """Return the rows at these positions; with fill, -1 is a missing image."""
    absent = positions < 0
    if not (fill and absent.any()):
        return PixelStorage(storage.pixels.take(positions, axis=0), storage.status.take(positions), storage.failures)
    if positions.min() < MISSING:
        raise ValueError(f"with allow_fill=True the smallest position is -1, got {positions.min()}")
    if absent.all():
        result = empty_storage(len(positions), storage.pixels.dtype, storage.pixels.shape[1:])
        result.failures = storage.failures
    else:
        result = take_rows(storage, positions, fill=False)
        result.pixels[absent] = 0
    result.status[absent] = MISSING
    return result


def prune_failures(status: Pixels, failures: tuple[Failure, ...]) -> tuple[Pixels, tuple[Failure, ...]]:
    """Return the status renumbered, and the failures that its rows refer to."""
    is_used = np.zeros(len(failures) + 1, dtype=bool)
    is_used[status[status > 0]] = True
    used = np.flatnonzero(is_used)
    if len(used) == len(failures):
        return status, failures
    lookup = np.zeros(len(failures) + 1, dtype=np.int32)
    lookup[used] = np.arange(1, len(used) + 1)
    return _renumber(status, lookup), tuple(map(failures.__getitem__, (used - 1).tolist()))


def _renumber(status: Pixels, lookup: Pixels) -> Pixels:
    # Images and missing rows keep their code; only failures are looked up.
    return np.where(status > 0, lookup[np.maximum(status, 0)], status)


def concat_failures(
    parts: Iterable[tuple[Pixels, tuple[Failure, ...]]],
) -> tuple[list[Pixels], tuple[Failure, ...]]:
    """Return the status of each part renumbered into one common table of failures, and that table.

    A table that is concatenated with itself does not grow, and no table is longer than its rows. Equal failures of
    several tables are stored once, unless there are so many that to compare them takes longer than to copy pixels.
    """
    parts = list(parts)
    tables = {id(table): table for _, table in parts}
    if len(tables) == 1:
        return [status for status, _ in parts], parts[0][1]
    parts = [prune_failures(*part) for part in parts]
    if sum(len(table) for _, table in parts) > MAX_COMPARED_FAILURES:
        return _chain_failures(parts)
    codes: dict[tuple[Any, ...], int] = {}
    joined: list[Failure] = []
    statuses = []
    for status, table in parts:
        lookup = np.zeros(len(table) + 1, dtype=np.int32)
        for k, failure in enumerate(table, start=1):
            key = tuple(failure.values())
            if key not in codes:
                joined.append(failure)
                codes[key] = len(joined)
            lookup[k] = codes[key]
        statuses.append(_renumber(status, lookup))
    return statuses, tuple(joined)


def _chain_failures(parts: list[tuple[Pixels, tuple[Failure, ...]]]) -> tuple[list[Pixels], tuple[Failure, ...]]:
    """Return the status of each part renumbered into the table of all failures, one after the other."""
    offsets = np.cumsum([0, *(len(table) for _, table in parts)]).tolist()
    statuses = [
        np.where(status > 0, status + np.int32(offset), status)
        for (status, _), offset in zip(parts, offsets[:-1], strict=True)
    ]
    return statuses, tuple(chain.from_iterable(table for _, table in parts))
