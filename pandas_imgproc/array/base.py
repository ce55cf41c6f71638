"""Base of the image array: a range of rows of a `PixelStorage`, read and written by position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, no_default

from pandas_imgproc.array.indexing import validate_indexer
from pandas_imgproc.array.scalar import Pixels, _from_readonly, is_image_like, is_missing, readonly, validate_image
from pandas_imgproc.array.storage import MISSING, PixelStorage, take_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.errors import Failure


class StorageBackedArray(ExtensionArray):
    """Array over rows of a storage that slices and copies share."""

    # Set by pandas 3 on arrays that must not be written; pandas 2 does not use it.
    _readonly: bool = False
    _storage: PixelStorage
    _rows: range  # of the storage

    if TYPE_CHECKING:

        @classmethod
        def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Self: ...

    @classmethod
    def _simple_new(cls, storage: PixelStorage, rows: range | None = None) -> Self:
        array = cls.__new__(cls)
        array._storage = storage
        array._rows = range(len(storage.pixels)) if rows is None else rows
        return array

    def _slice(self) -> slice:
        stop = self._rows.stop if self._rows.stop >= 0 else None
        return slice(self._rows.start, stop, self._rows.step) if len(self._rows) else slice(0)

    @property
    def _pixels(self) -> Pixels:
        return self._storage.pixels[self._slice()]

    @property
    def _status(self) -> Pixels:
        return self._storage.status[self._slice()]

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and the status of these rows, shared or not."""
        return int(self._pixels.nbytes + self._status.nbytes)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return map(self._cell, self._rows)

    def isna(self) -> Pixels:
        """Return the mask of missing images: ndarray of bool, shape (n,)."""
        missing: Pixels = self._status != 0
        return missing

    def to_numpy(self, dtype: Any = None, copy: bool = False, na_value: Any = no_default) -> Pixels:  # noqa: ARG002
        """Return the cells, as np.asarray does: ndarray of object, shape (n,). `to_pixels` returns the pixels."""
        if na_value is no_default:
            return np.asarray(self, dtype=dtype)
        cells = (na_value if cell is pd.NA else cell for cell in self)
        return np.fromiter(cells, dtype=object, count=len(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Pixels:
        if copy is False:
            raise ValueError("cells are created on access: np.asarray(...) instead of copy=False")
        # Cells and not pixels: a result of four dimensions makes Series.to_json a segmentation fault.
        cells = np.fromiter(self, dtype=object, count=len(self))
        kind = np.dtype(object if dtype is None else dtype).kind
        if kind not in "OUS":
            raise TypeError(f"cells cannot be converted to {dtype}: the pixels are series.img.to_numpy({str(dtype)!r})")
        return cells if kind == "O" else cells.astype(dtype)

    def __getitem__(self, item: Any) -> Any:
        indexer = validate_indexer(self, item)
        if isinstance(indexer, int):
            return self._cell(self._storage_row(indexer))
        if isinstance(indexer, slice):
            result = self._simple_new(self._storage, self._rows[indexer])
        else:
            result = self.take(np.flatnonzero(indexer) if indexer.dtype == bool else indexer)
        result._readonly = self._readonly
        return result

    def _storage_row(self, position: int) -> int:
        try:
            return self._rows[position]
        except IndexError:
            raise IndexError(f"index {position} is out of bounds for axis 0 with size {len(self)}") from None

    def _cell(self, row: int) -> Any:
        if self._storage.status[row] != 0:
            return pd.NA
        pixels = self._storage.pixels[row]
        # A later write in place must not change a cell that was returned.
        return _from_readonly(readonly(pixels.copy() if self._storage.is_private else pixels))

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._readonly:
            raise ValueError("Cannot modify read-only array")
        indexer = validate_indexer(self, key)
        if isinstance(indexer, int):
            self._storage.write(self._storage_row(indexer), *self._validate_setitem_value(value, None))
        else:
            rows = np.asarray(self._rows, dtype=np.intp)[indexer]
            self._storage.write(rows, *self._validate_setitem_value(value, len(rows)))

    def _validate_setitem_value(self, value: Any, n: int | None) -> tuple[Any, Any, tuple[Failure, ...]]:
        """Return pixels, status and failures of a value for n rows, or for a scalar position (None)."""
        if is_missing(value):
            return 0, MISSING, ()
        if is_image_like(value) or not pd.api.types.is_list_like(value):
            return validate_image(value, self._storage.pixels.dtype, self._storage.pixels.shape[1:]), 0, ()
        if n is None:
            raise ValueError("setting a cell with a sequence: give one array of pixels, an ImageCell or None")
        values = self._from_sequence(value, dtype=self.dtype)
        if len(values) not in (1, n):
            raise ValueError(f"cannot set {n} rows from {len(values)} images: the lengths must match")
        return values._pixels, values._status, values._storage.failures

    def _putmask(self, mask: Pixels, value: Any) -> None:
        if pd.api.types.is_list_like(value) and not is_image_like(value) and len(value) != 1:
            if len(value) != len(self):
                raise ValueError(f"Length of values ({len(value)}) does not match length of index ({len(self)})")
            value = self._from_sequence(value, dtype=self.dtype)[mask]
        self[mask] = value

    def _where(self, mask: Pixels, value: Any) -> Self:
        result = self.copy()
        result._putmask(~mask, value)
        return result

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Self:
        """Return the rows at these positions, in that order.

        Parameters
        ----------
        indices : sequence of int
        allow_fill : bool, default False
            Whether -1 is a new row instead of the last one.
        fill_value : ImageCell, array or missing value, optional
            Value of a new row.

        Returns
        -------
        ImageArray
            With the failures of its rows.

        Raises
        ------
        IndexError
            If a position is out of bounds.
        ValueError
            If a position is below -1, with allow_fill.
        """
        positions = np.asarray(indices, dtype=np.intp)
        result = self._simple_new(take_rows(self._view(), positions, fill=allow_fill))
        if allow_fill and not is_missing(fill_value):
            result[positions == MISSING] = fill_value
        return result

    def copy(self) -> Self:
        """Return a copy that shares the pixels until either is written."""
        self._storage.mark_shared()
        return self._simple_new(self._view())

    def _view(self) -> PixelStorage:
        return PixelStorage(self._pixels, self._status, self._storage.failures)
