"""What an image array and its views hold together: pixels, status, failures; copied at the first write.

::

    ImageArray ──rows──┐
    its slices ──rows──┤                  ┌── block    (n, h, w, c)   the caller's, until somebody writes
                       └──▶  Storage  ────┼── status   (n,)           0 image, -1 missing, k > 0 failures[k-1]
    its copies ──────────▶ another one,   └── failures tuple of dicts
                           same block
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.array.scalar import Pixels, validate_image_shape, validate_pixel_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pandas_imgproc.errors import Failure

MISSING = -1


class PixelStorage:
    """Pixels, status and failures, which an array shares with its views.

    Attributes
    ----------
    block : ndarray, shape (n, height, width, channels)
    status : ndarray of int32, shape (n,)
    failures : tuple of dict
    is_private : bool
        Whether it was copied for a write, and nobody else has seen the block since.
    """

    __slots__ = ("block", "failures", "is_private", "status")

    def __init__(self, block: Pixels, status: Pixels, failures: tuple[Failure, ...] = ()) -> None:
        self.block = block
        self.status = status
        self.failures = failures
        self.is_private = False

    def make_writable(self) -> None:
        """Make the pixels private, so that they may be written."""
        if not self.is_private:
            self.block = self.block.copy()
            self.status = self.status.copy()
            self.is_private = True

    def write(self, rows: Any, pixels: Any, codes: Any, failures: tuple[Failure, ...]) -> None:
        """Put pixels into rows, with codes that number failures of their own."""
        self.make_writable()
        if failures and failures != self.failures:
            parts = [(self.status, self.failures), (codes, failures)]
            (self.status, codes), self.failures = concat_failures(parts)
        self.block[rows] = pixels
        self.status[rows] = codes

    def mark_shared(self) -> None:
        """Promise that what is seen from now on never changes: the next write copies first."""
        self.is_private = False


def validate_pixels(block: Any) -> Pixels:
    """Return a block of pixels in the machine's byte order, each image contiguous; copied only if it must be.

    Raises
    ------
    ValueError
        When it has not the shape (n, height, width, channels).
    TypeError
        When its dtype is not numeric.
    """
    array = np.asarray(block)
    if array.ndim != 4:
        message = f"block must have the shape (n, height, width, channels), got {array.shape}"
        raise ValueError(message)
    validate_image_shape(array.shape[1:])
    array = array.astype(validate_pixel_dtype(array.dtype), copy=False)
    # Steps between rows are fine (every second row of a block is a view), steps inside an image are not.
    return array if len(array) == 0 or array[0].flags.c_contiguous else np.ascontiguousarray(array)


def validate_status(status: Any, n: int, failures: Sequence[Failure]) -> Pixels:
    """Return a status for n rows; all images without one.

    Raises
    ------
    ValueError
        When its length is another, or a code has no failure.
    TypeError
        When it does not hold integers.
    """
    if status is None:
        return np.zeros(n, dtype=np.int32)
    codes = np.asarray(status)
    if codes.dtype.kind not in "iu" and codes.size:
        message = f"status must hold integers, got dtype {codes.dtype}"
        raise TypeError(message)
    if codes.shape != (n,):
        message = f"status must have the shape ({n},), one code for each image, got {codes.shape}"
        raise ValueError(message)
    if n and not (codes.min() >= MISSING and codes.max() <= len(failures)):
        message = (
            f"status must lie between -1 and the number of failures, {len(failures)}; "
            f"got {codes.min()} to {codes.max()}"
        )
        raise ValueError(message)
    return codes.astype(np.int32, copy=False)


def empty_storage(n: int, subtype: np.dtype[Any], shape: tuple[int, ...]) -> PixelStorage:
    """Return n black images."""
    return PixelStorage(np.zeros((n, *shape), dtype=subtype), np.zeros(n, dtype=np.int32))


def take_rows(storage: PixelStorage, positions: Pixels, *, fill: bool) -> PixelStorage:
    """Return the rows at positions; with fill, -1 is a black image that is missing.

    Raises
    ------
    IndexError
        When a position is out of bounds.
    ValueError
        When with fill a position is below -1.
    """
    absent = positions < 0
    if not (fill and absent.any()):
        return PixelStorage(storage.block.take(positions, axis=0), storage.status.take(positions), storage.failures)
    if positions.min() < MISSING:
        message = f"with allow_fill=True the smallest position is -1, got {positions.min()}"
        raise ValueError(message)
    if absent.all():
        result = empty_storage(len(positions), storage.block.dtype, storage.block.shape[1:])
        result.failures = storage.failures
    else:
        result = take_rows(storage, positions, fill=False)
        result.block[absent] = 0
    result.status[absent] = MISSING
    return result


def prune_failures(status: Pixels, failures: tuple[Failure, ...]) -> tuple[Pixels, tuple[Failure, ...]]:
    """Return the status and the failures without those that no row has."""
    used = np.unique(status[status > 0])
    if len(used) == len(failures):
        return status, failures
    lookup = np.zeros(len(failures) + 1, dtype=np.int32)
    lookup[used] = np.arange(1, len(used) + 1)
    # Images and missing rows keep their code; only failures are looked up.
    return np.where(status > 0, lookup[np.maximum(status, 0)], status), tuple(failures[k - 1] for k in used)


def concat_failures(
    parts: Iterable[tuple[Pixels, tuple[Failure, ...]]],
) -> tuple[list[Pixels], tuple[Failure, ...]]:
    """Return each part's status with the codes of one common table, and that table.

    Equal failures become one: a table that is concatenated with itself again and again does not grow.
    """
    parts = list(parts)
    tables = {id(table): table for _, table in parts}
    if len(tables) == 1:
        return [status for status, _ in parts], parts[0][1]
    codes: dict[tuple[Any, ...], int] = {}
    joined: list[Failure] = []
    statuses = []
    for status, table in (prune_failures(*part) for part in parts):
        lookup = np.zeros(len(table) + 1, dtype=np.int32)
        for k, failure in enumerate(table, start=1):
            key = tuple(failure.values())
            if key not in codes:
                joined.append(failure)
                codes[key] = len(joined)
            lookup[k] = codes[key]
        statuses.append(np.where(status > 0, lookup[np.maximum(status, 0)], status))
    return statuses, tuple(joined)
