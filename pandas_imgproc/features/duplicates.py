"""Groups of equal or similar hashes: rows of the same image."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]

BITS = 64
_PAIR_COST = 8
"""Time of one comparison of a pair found by banding, relative to one of a scan; measured."""


def group_ids(values: Any, max_distance: int = 0) -> Numbers:
    """Return the group number of each value.

    Parameters
    ----------
    values : array-like
        Hashes of 64 bits, or any values if `max_distance` is 0; a missing value has no group.
    max_distance : int
        Bits in which two hashes of one pair may differ. Groups are the connected components of such pairs.

    Returns
    -------
    ndarray of int64, shape (n,)
        -1 where missing; else 0 up, by first appearance.

    Examples
    --------
    >>> group_ids(pd.array([8, 7, None, 9, 3, 8], dtype="UInt64"), max_distance=1).tolist()
    [0, 1, -1, 0, 1, 0]
    """
    factorized, distinct = pd.factorize(values)
    codes: Numbers = factorized.astype(np.int64)
    if max_distance == 0 or len(distinct) < 2:
        return codes
    groups: Numbers = components(np.asarray(distinct, dtype=np.uint64), max_distance)[codes]
    groups[codes < 0] = -1
    return groups


def components(hashes: Hashes, max_distance: int) -> Numbers:
    """Return the connected component of each of some distinct hashes, numbered by first appearance.

    Two hashes that differ in at most d bits agree in one of any d + 1 bands of bits, so that only hashes that share a
    band are compared (locality-sensitive hashing). Where those are nearly all, each hash is compared to all without
    a component. In both cases memory does not grow with the number of pairs.
    """
    n = len(hashes)
    bands = [extract_band(hashes, low, high) for low, high in pairwise(_band_edges(max_distance + 1))]
    counts = (np.unique(band, return_counts=True)[1].astype(np.int64) for band in bands)
    n_candidates = sum(int((count * (count - 1) // 2).sum()) for count in counts)
    scan = n_candidates * _PAIR_COST > n * (n - 1) // 2
    roots = _components_by_scan(hashes, max_distance) if scan else _components_by_lsh(hashes, bands, max_distance)
    return pd.factorize(roots)[0].astype(np.int64)


def _band_edges(n_bands: int) -> list[int]:
    n_bands = min(n_bands, BITS)
    return [BITS * band // n_bands for band in range(n_bands + 1)]


def extract_band(hashes: Hashes, low: int, high: int) -> Hashes:
    """Return the bits of each hash from `low` up to `high`.

    Examples
    --------
    >>> extract_band(np.array([0b1101], dtype=np.uint64), 1, 3).tolist()
    [2]
    """
    return (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)


def _components_by_lsh(hashes: Hashes, bands: list[Hashes], max_distance: int) -> Numbers:
    parents = np.arange(len(hashes))
    for band in bands:
        order = np.argsort(band, kind="stable")
        ends = np.searchsorted(band[order], band[order], side="right")
        ranks = np.arange(len(order))
        step = 1
        while len(ranks):
            ranks = ranks[ranks + step < ends[ranks]]
            a, b = order[ranks], order[ranks + step]
            similar = np.bitwise_count(hashes[a] ^ hashes[b]) <= max_distance
            _union(parents, a[similar], b[similar])
            step += 1
    return _find_roots(parents, np.arange(len(hashes)))


def _find_roots(parents: Numbers, nodes: Numbers) -> Numbers:
    roots = parents[nodes]
    while not np.array_equal(grandparents := parents[roots], roots):
        roots = grandparents
    return roots


def _union(parents: Numbers, a: Numbers, b: Numbers) -> None:
    """Merge the sets of each pair, under the lower root, vectorized over all pairs."""
    while len(a):
        root_a, root_b = _find_roots(parents, a), _find_roots(parents, b)
        differ = root_a != root_b
        a, b, root_a, root_b = a[differ], b[differ], root_a[differ], root_b[differ]
        # Of several pairs that assign one root the last wins; the others still differ, and assign again.
        parents[np.maximum(root_a, root_b)] = np.minimum(root_a, root_b)


def _components_by_scan(hashes: Hashes, max_distance: int) -> Numbers:
    roots = np.full(len(hashes), -1, dtype=np.int64)
    remaining, nodes = hashes, np.arange(len(hashes))
    while len(remaining):
        root = int(nodes[0])
        front, roots[root] = remaining[:1], root
        remaining, nodes = remaining[1:], nodes[1:]
        while len(front) and len(remaining):
            similar = _within_distance_of_any(remaining, front, max_distance)
            front = remaining[similar]
            roots[nodes[similar]] = root
            if len(front):
                remaining, nodes = remaining[~similar], nodes[~similar]
    return roots


def _within_distance_of_any(hashes: Hashes, others: Hashes, max_distance: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    similar = np.zeros(len(hashes), dtype=np.bool_)
    for other in others:
        similar |= np.bitwise_count(hashes ^ other) <= max_distance
    return similar
