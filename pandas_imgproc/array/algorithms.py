"""Algorithms of an image column: comparison, duplicates, hashing and grouping, all by pixels."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd

from pandas_imgproc.array.base import StorageBackedArray
from pandas_imgproc.array.hashing import digests, first_occurrences, hashes, rows_equal, scalars_equal
from pandas_imgproc.array.reductions import REDUCTIONS, Groups, reduce_groups
from pandas_imgproc.array.scalar import ImageCell, Pixels, is_missing
from pandas_imgproc.array.storage import MISSING, PixelStorage
from pandas_imgproc.array.unsupported import raise_unsupported


class AlgorithmsMixin(StorageBackedArray):
    """Mixin of the algorithms that pandas dispatches to an extension array."""

    def _digests(self) -> Pixels:
        return digests(self._pixels, self.isna())

    def factorize(self, use_na_sentinel: bool = True) -> tuple[Pixels, Self]:
        """Return a code for each row and the distinct images, in order of appearance."""
        codes, uniques = pd.factorize(self._digests(), use_na_sentinel=use_na_sentinel)
        return codes, self.take(first_occurrences(codes, len(uniques)))

    def _values_for_factorize(self) -> tuple[Pixels, Any]:
        return self._digests(), pd.NA

    def unique(self) -> Self:
        """Return the distinct images, in order of appearance."""
        return self.factorize(use_na_sentinel=False)[1]

    def duplicated(self, keep: Any = "first") -> Pixels:
        """Return a mask of the rows that repeat another one: ndarray of bool, shape (n,)."""
        return pd.Series(self._digests(), dtype=object).duplicated(keep=keep).to_numpy()

    def value_counts(self, dropna: bool = True) -> pd.Series[Any]:
        """Return the number of rows of each distinct image, in order of appearance."""
        codes, uniques = self.factorize(use_na_sentinel=dropna)
        counts = pd.array(np.bincount(codes[codes >= 0], minlength=len(uniques)), dtype="Int64")
        return pd.Series(counts, index=pd.Index(uniques), name="count", copy=False)

    def _hash_pandas_object(self, *, encoding: str, hash_key: str, categorize: bool) -> Pixels:  # noqa: ARG002
        return hashes(self._pixels, self.isna(), hash_key.encode(encoding))

    def __eq__(self, other: object) -> Any:
        if isinstance(other, (pd.Series, pd.Index, pd.DataFrame)):
            return NotImplemented
        equal, missing = self._equal_mask(other)
        return pd.arrays.BooleanArray(equal, missing | self.isna())

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else ~equal

    def _equal_mask(self, other: Any) -> tuple[Pixels, Pixels]:
        """Return the mask of rows equal to another value or array, and the mask of its missing ones."""
        unequal, missing = np.zeros((2, len(self)), dtype=bool)
        if is_missing(other):
            return unequal, ~missing
        if isinstance(other, ImageCell):
            pixels = np.asarray(other)[None]
            same_type = pixels.dtype == self._pixels.dtype and pixels.shape[1:] == self._pixels.shape[1:]
            return rows_equal(self._pixels, pixels) if same_type else unequal, missing
        if not pd.api.types.is_list_like(other):
            return unequal, missing
        if len(other) != len(self):
            raise ValueError(f"Lengths must match to compare: {len(self)} and {len(other)}")
        if not isinstance(other, AlgorithmsMixin):
            return scalars_equal(self, other)
        return rows_equal(self._pixels, other._pixels) if other.dtype == self.dtype else unequal, other.isna()

    def _reduce(self, name: str, *, skipna: bool = True, keepdims: bool = False, **kwargs: Any) -> Any:
        if name == "count":
            return int((~self.isna()).sum())
        ids = np.zeros(len(self), dtype=np.intp)
        result = self._reduce_groups(name, ids, 1, skipna=skipna, ddof=kwargs.get("ddof", 1))
        return result if keepdims else result[0]

    def _reduce_groups(
        self, how: str, ids: Pixels, n_groups: int, *, skipna: bool = True, ddof: int = 1, min_count: int = -1
    ) -> Self:
        """Return the pixelwise reduction of each group, an image or missing."""
        if how not in REDUCTIONS:
            raise_unsupported(how, f"; pixel by pixel there are {', '.join(REDUCTIONS)}")
        groups = Groups.from_ids(ids, ~self.isna(), n_groups)
        pixels, missing = reduce_groups(self._pixels, groups, how, ddof=ddof)
        missing |= groups.sizes < min_count
        if not skipna:
            missing |= np.bincount(ids[self.isna() & (ids >= 0)], minlength=n_groups) > 0
        pixels[missing] = 0
        return self._simple_new(PixelStorage(pixels, np.where(missing, MISSING, 0).astype(np.int32)))

    def _groupby_op(self, *, how: str, min_count: int, ngroups: int, ids: Pixels, **kwargs: Any) -> Any:
        if how not in ("first", "last"):
            skipna, ddof = kwargs.get("skipna", True), kwargs.get("ddof", 1)
            return self._reduce_groups(how, ids, ngroups, skipna=skipna, ddof=ddof, min_count=min_count)
        valid = (ids >= 0) & ~self.isna()
        candidates = np.flatnonzero(valid if kwargs.get("skipna", True) else ids >= 0)
        # The last assignment to an element wins.
        candidates = candidates if how == "last" else candidates[::-1]
        positions = np.full(ngroups, MISSING, dtype=np.intp)
        positions[ids[candidates]] = candidates
        positions[np.bincount(ids[valid], minlength=ngroups) < min_count] = MISSING
        return self.take(positions, allow_fill=True)
