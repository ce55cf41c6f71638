"""Reductions over rows, pixel by pixel: the mean image of a group, its standard deviation, and the like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.array.scalar import Pixels

_BLOCK_NBYTES = 2**24
"""Bytes of the float64 copy of some pixels: a block of rows, or of positions in all rows of a group."""


@dataclass(frozen=True)
class Groups:
    """Rows of groups.

    Attributes
    ----------
    rows : ndarray of int64
        Positions of the rows that count, ordered by group.
    starts : ndarray of int64, shape (n_groups + 1,)
        First element of `rows` of each group, and their number.
    """

    rows: Pixels
    starts: Pixels

    @classmethod
    def from_ids(cls, ids: Pixels, valid: Pixels, n_groups: int) -> Groups:
        """Return the groups of the valid rows; a row of group -1 is in none."""
        rows = np.flatnonzero(valid & (ids >= 0))
        rows = rows[np.argsort(ids[rows], kind="stable")]
        return cls(rows, np.searchsorted(ids[rows], np.arange(n_groups + 1)))

    @property
    def sizes(self) -> Pixels:
        """Number of rows of each group."""
        return np.diff(self.starts)

    def __iter__(self) -> Iterator[Pixels]:
        for start, stop in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            yield self.rows[start:stop]


def reduce_groups(pixels: Pixels, groups: Groups, how: str, *, ddof: int = 1) -> tuple[Pixels, Pixels]:
    """Reduce the images of each group to one.

    Parameters
    ----------
    pixels : ndarray, shape (n, height, width, channels)
    groups : Groups
    how : {"mean", "std", "var", "median", "min", "max"}
    ddof : int
        Delta degrees of freedom of "std" and "var": the divisor is the number of rows less this.

    Returns
    -------
    pixels : ndarray, shape (n_groups, height, width, channels)
        "min" and "max" keep the dtype; the others are float32, of float64 pixels float64, accumulated in float64.
    missing : ndarray of bool, shape (n_groups,)
        Groups without a result, whose pixels are zero.

    Examples
    --------
    >>> pixels = np.array([0, 4, 9], np.uint8).reshape(3, 1, 1, 1)
    >>> groups = Groups.from_ids(np.array([0, 0, 1]), np.ones(3, bool), 2)
    >>> reduce_groups(pixels, groups, "mean")[0].ravel()
    array([2., 9.], dtype=float32)
    """
    keeps_dtype = how in ("min", "max")
    dtype = pixels.dtype if keeps_dtype or pixels.dtype == np.float64 else np.dtype(np.float32)
    result = np.zeros((len(groups.sizes), *pixels.shape[1:]), dtype=dtype)
    missing = groups.sizes < (1 if how not in ("std", "var") else max(1, ddof + 1))
    function = REDUCTIONS[how]
    for out, rows, is_missing in zip(result, groups, missing.tolist(), strict=True):
        if not is_missing:
            out[...] = function(pixels, rows, ddof)
    return result, missing


def _blocks(pixels: Pixels, rows: Pixels, dtype: Any = np.float64) -> Iterator[Pixels]:
    """Yield the pixels of some rows in blocks that fit into a cache."""
    n = max(1, _BLOCK_NBYTES // max(1, 8 * int(np.prod(pixels.shape[1:]))))
    for start in range(0, len(rows), n):
        yield pixels[rows[start : start + n]].astype(dtype, copy=False)


def _mean(pixels: Pixels, rows: Pixels, _: int) -> Any:
    return sum(block.sum(axis=0) for block in _blocks(pixels, rows)) / len(rows)


def _variance(pixels: Pixels, rows: Pixels, ddof: int) -> Any:
    # In two passes: a sum of squares less a square of sums loses the digits of nearly equal images.
    mean = _mean(pixels, rows, ddof)
    return sum(np.square(block - mean).sum(axis=0) for block in _blocks(pixels, rows)) / (len(rows) - ddof)


def _std(pixels: Pixels, rows: Pixels, ddof: int) -> Any:
    return np.sqrt(_variance(pixels, rows, ddof))


def _median(pixels: Pixels, rows: Pixels, _: int) -> Pixels:
    flat = pixels.reshape(len(pixels), -1)
    n = max(1, _BLOCK_NBYTES // (8 * len(rows)))
    starts = range(0, flat.shape[1], n)
    parts = [np.median(flat[rows, start : start + n].astype(np.float64), axis=0) for start in starts]
    return np.concatenate(parts).reshape(pixels.shape[1:])


def _extremum(ufunc: np.ufunc) -> Callable[[Pixels, Pixels, int], Any]:
    def reduce(pixels: Pixels, rows: Pixels, _: int) -> Any:
        return ufunc.reduce([ufunc.reduce(block, axis=0) for block in _blocks(pixels, rows, pixels.dtype)])

    return reduce


REDUCTIONS: dict[str, Callable[[Pixels, Pixels, int], Any]] = {
    "mean": _mean,
    "std": _std,
    "var": _variance,
    "median": _median,
    "min": _extremum(np.minimum),
    "max": _extremum(np.maximum),
}
"""Functions of pixels, the positions of a group's rows, and the delta degrees of freedom."""
