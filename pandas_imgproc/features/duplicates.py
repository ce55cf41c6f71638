"""Groups of equal or nearly equal hashes: which rows show the same image."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]

BITS = 64
_SCAN_COST = 8
"""How many comparisons of a scan cost as much as one of a pair found by banding; measured."""


def group_ids(values: Any, max_distance: int = 0) -> Numbers:
    """Return a number for each value: that of the group it belongs to.

    Parameters
    ----------
    values : array-like
        Hashes: whole numbers of 64 bits, or any values if `max_distance` is 0; missing ones have no group.
    max_distance : int
        Bits in which two hashes of one pair may differ. Groups are what such pairs connect, also over several steps.

    Returns
    -------
    ndarray of int64, shape (n,)
        -1 where missing; else 0 up, by first appearance.

    Examples
    --------
    >>> group_ids(pd.array([8, 7, None, 9, 3, 8], dtype="UInt64"), max_distance=1).tolist()
    [0, 1, -1, 0, 1, 0]
    """
    found, distinct = pd.factorize(values)
    codes: Numbers = found.astype(np.int64)
    if max_distance == 0 or len(distinct) < 2:
        return codes
    connected: Numbers = components(np.asarray(distinct, dtype=np.uint64), max_distance)[codes]
    connected[codes < 0] = -1
    return connected


def components(hashes: Hashes, max_distance: int) -> Numbers:
    """Return for each of some distinct hashes its connected component, numbered by first appearance.

    Two hashes that differ in at most d bits agree in one of d + 1 bands of bits, whichever way the bits are cut. So
    only those that share a band are compared. Where that would be nearly everybody, all are compared, each with those
    that no component has taken yet. Either way memory does not grow with the number of pairs.
    """
    n = len(hashes)
    shared = [band_of(hashes, low, high) for low, high in pairwise(_edges(max_distance + 1))]
    candidates = sum(int((counts * (counts - 1) // 2).sum()) for counts in map(_counts, shared))
    scan = candidates * _SCAN_COST > n * (n - 1) // 2
    roots = _by_scan(hashes, max_distance) if scan else _by_bands(hashes, shared, max_distance)
    return pd.factorize(roots)[0].astype(np.int64)


def _edges(bands: int) -> list[int]:
    bands = min(bands, BITS)
    return [BITS * band // bands for band in range(bands + 1)]


def band_of(hashes: Hashes, low: int, high: int) -> Hashes:
    """Return some bits of each hash, from `low` up to `high`.

    Examples
    --------
    >>> band_of(np.array([0b1101], dtype=np.uint64), 1, 3).tolist()
    [2]
    """
    return (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)


def _counts(band: Hashes) -> Numbers:
    return np.unique(band, return_counts=True)[1].astype(np.int64)


def _by_bands(hashes: Hashes, shared: list[Hashes], max_distance: int) -> Numbers:
    parents = np.arange(len(hashes))
    for band in shared:
        order = np.argsort(band, kind="stable")
        ends = np.searchsorted(band[order], band[order], side="right")
        left = np.arange(len(order))
        step = 1
        while len(left):
            left = left[left + step < ends[left]]
            one, other = order[left], order[left + step]
            near = np.bitwise_count(hashes[one] ^ hashes[other]) <= max_distance
            _join(parents, one[near], other[near])
            step += 1
    return _roots(parents, np.arange(len(hashes)))


def _roots(parents: Numbers, of: Numbers) -> Numbers:
    found = parents[of]
    while not np.array_equal(further := parents[found], found):
        found = further
    return found


def _join(parents: Numbers, one: Numbers, other: Numbers) -> None:
    """Give each pair one root, the lower one; whole arrays at a time, until no pair is left apart."""
    while len(one):
        first, second = _roots(parents, one), _roots(parents, other)
        apart = first != second
        one, other, first, second = one[apart], other[apart], first[apart], second[apart]
        # Of several that pull at one root the last wins; the others are still apart, and pull again.
        parents[np.maximum(first, second)] = np.minimum(first, second)


def _by_scan(hashes: Hashes, max_distance: int) -> Numbers:
    roots = np.full(len(hashes), -1, dtype=np.int64)
    free, rows = hashes, np.arange(len(hashes))
    while len(free):
        root = int(rows[0])
        front, roots[root] = free[:1], root
        free, rows = free[1:], rows[1:]
        while len(front) and len(free):
            near = _near_any(free, front, max_distance)
            front = free[near]
            roots[rows[near]] = root
            if len(front):
                free, rows = free[~near], rows[~near]
    return roots


def _near_any(hashes: Hashes, front: Hashes, max_distance: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which hashes are near to any of the front."""
    near = np.zeros(len(hashes), dtype=np.bool_)
    for one in front:
        near |= np.bitwise_count(hashes ^ one) <= max_distance
    return near
