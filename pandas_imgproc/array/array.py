"""The array of an image column: what pandas asks of an extension array, over a `PixelStorage`."""
# ruff: noqa: RUF002  the sign of multiplication stands where it multiplies

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from pandas.api.extensions import no_default

from pandas_imgproc.array import arrow
from pandas_imgproc.array.dtype import ImageDtype, cached_dtype
from pandas_imgproc.array.hashing import digests, first_occurrences, hashes, rows_equal, scalars_equal
from pandas_imgproc.array.indexing import validate_indexer
from pandas_imgproc.array.scalar import (
    ImageCell,
    Pixels,
    _from_readonly,
    is_image_like,
    is_missing,
    readonly,
    validate_pixels_of,
)
from pandas_imgproc.array.storage import (
    MISSING,
    PixelStorage,
    concat_failures,
    empty_storage,
    prune_failures,
    take_rows,
    validate_pixels,
    validate_status,
)
from pandas_imgproc.array.unsupported import UnsupportedOpsMixin, raise_unsupported
from pandas_imgproc.errors import FAILURE_KINDS, Failure, MissingImagesError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


class ImageArray(UnsupportedOpsMixin):
    """Images of one shape in one block, with a status for each.

    Parameters
    ----------
    pixels : ndarray of numbers, shape (n, height, width, channels)
        Not copied, and never written: the first write makes a private copy.
    status : ndarray of int32, shape (n,), optional
        0: an image, -1: missing, k > 0: missing because of ``failures[k - 1]``. All images by default.
    failures : sequence of dict, optional
        Why images are missing: position, path, kind and message each. They stay with their rows through
        filters, sorts and concatenation.

    Raises
    ------
    ValueError, TypeError
        When block, status and failures do not fit together.

    Notes
    -----
    ``copy()`` shares the block and slices are views of it, so that pandas may copy as often as it likes. What
    was handed out, blocks and cells, never changes afterwards.

    Examples
    --------
    >>> import numpy as np
    >>> ImageArray(np.zeros((2, 48, 64, 3), dtype="uint8"), status=[0, -1])
    <ImageArray>
    [<image 64×48×3 uint8>, <NA>]
    Length: 2, dtype: image[uint8, (48, 64, 3)]
    """

    # Set by pandas 3 on arrays that must not be written; pandas 2 does not know it.
    _readonly: bool = False
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, block: Any, status: Any = None, failures: Sequence[Failure] = ()) -> None:
        pixels = validate_pixels(block)
        table = tuple(failures)
        self._storage = PixelStorage(readonly(pixels), readonly(validate_status(status, len(pixels), table)), table)
        self._rows = range(len(pixels))

    @classmethod
    def _simple_new(cls, storage: PixelStorage, rows: range | None = None) -> Self:
        array = cls.__new__(cls)
        array._storage = storage
        array._rows = range(len(storage.block)) if rows is None else rows
        return array

    # ---- What it holds

    def _slice(self) -> slice:
        stop = self._rows.stop if self._rows.stop >= 0 else None
        return slice(self._rows.start, stop, self._rows.step) if len(self._rows) else slice(0)

    @property
    def _pixels(self) -> Pixels:
        return self._storage.block[self._slice()]

    @property
    def _status(self) -> Pixels:
        return self._storage.status[self._slice()]

    @property
    def pixels(self) -> Pixels:
        """All pixels, black where missing: read-only ndarray, shape (n, height, width, channels)."""
        self._storage.mark_shared()
        return readonly(self._pixels)

    @property
    def status(self) -> Pixels:
        """0: an image, -1: missing, k > 0: ``failures[k - 1]``; read-only ndarray of int32, shape (n,)."""
        self._storage.mark_shared()
        return readonly(self._status)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why images are missing, as `status` numbers them; may hold more than these rows need."""
        return self._storage.failures

    def failure_rows(self) -> tuple[Pixels, list[Failure]]:
        """Return where this array has failures, and which.

        Returns
        -------
        rows : ndarray of intp, shape (k,)
            Positions in this array, ascending. The position in a failure is the one of its first frame.
        failures : list of dict, length k

        Examples
        --------
        >>> import numpy as np
        >>> why = {"position": 7, "path": "a.jpg", "kind": "empty", "message": "no bytes"}
        >>> array = ImageArray(np.zeros((3, 2, 2, 1), dtype="uint8"), [0, 1, -1], [why])
        >>> array.failure_rows()
        (array([1]), [{'position': 7, 'path': 'a.jpg', 'kind': 'empty', 'message': 'no bytes'}])
        """
        rows = np.flatnonzero(self._status > 0)
        return rows, [self.failures[code - 1] for code in self._status[rows]]

    def failure_kinds(self) -> pd.Categorical[Any]:
        """Return the kind of each row's failure, NA where there is none.

        Returns
        -------
        pandas.Categorical
            Of length n; its categories are all failure kinds.
        """
        failure_kinds = [FAILURE_KINDS.index(failure["kind"]) for failure in self.failures]
        codes = np.array([-1, *failure_kinds])[np.maximum(self._status, 0)]
        return pd.Categorical.from_codes(codes, categories=pd.Index(FAILURE_KINDS))

    def to_pixels(self, dtype: Any = None, copy: bool = False, na_value: Any = no_default) -> Pixels:
        """Return the pixels of all images as one array.

        Parameters
        ----------
        dtype : numpy dtype, optional
            Converts the numbers, without scaling them: one copy.
        copy : bool, default False
            Return an array of one's own that may be written, as torch wants it.
        na_value : number or array, optional
            What missing images are filled with; makes a copy when there are any.

        Returns
        -------
        ndarray, shape (n, height, width, channels)
            A read-only view when neither dtype, copy nor a missing image asks for more.

        Raises
        ------
        MissingImagesError
            When images are missing and na_value is not given.

        Examples
        --------
        >>> import numpy as np
        >>> array = ImageArray(np.full((2, 1, 1, 1), 9, dtype="uint8"), [0, -1])
        >>> array.to_pixels(na_value=0).ravel()
        array([9, 0], dtype=uint8)
        """
        missing = self.isna()
        if na_value is no_default and missing.any():
            message = (
                f"{missing.sum()} of {len(self)} images are missing: drop their rows with "
                "df.dropna(subset=['image']), fill them with na_value=0, or see why in series.img.failures"
            )
            raise MissingImagesError(message)
        subtype = self.dtype.subtype if dtype is None else np.dtype(dtype)
        if not (copy or missing.any() or subtype != self.dtype.subtype):
            return self.pixels
        block = self._pixels.astype(subtype, order="C")
        if missing.any():
            block[missing] = na_value
        return block

    # ---- What pandas asks for

    @property
    def dtype(self) -> ImageDtype:
        """The `ImageDtype`."""
        return cached_dtype(self._storage.block.dtype, self._storage.block.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and the status that this array shows, shared or not."""
        return int(self._pixels.nbytes + self._status.nbytes)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return map(self._cell, self._rows)

    def isna(self) -> Pixels:
        """Return where images are missing: ndarray of bool, shape (n,)."""
        missing: Pixels = self._status != 0
        return missing

    def to_numpy(self, dtype: Any = None, copy: bool = False, na_value: Any = no_default) -> Pixels:  # noqa: ARG002
        """Return cells, as np.asarray does; the pixels are given by `to_pixels`.

        Returns
        -------
        ndarray of object, shape (n,)
        """
        if na_value is no_default:
            return np.asarray(self, dtype=dtype)
        cells = (na_value if cell is pd.NA else cell for cell in self)
        return np.fromiter(cells, dtype=object, count=len(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Pixels:
        if copy is False:
            message = "cells are made when they are asked for: np.asarray(...) instead of copy=False"
            raise ValueError(message)
        # Cells and not the block: a result of four dimensions makes Series.to_json a segmentation fault.
        cells = np.fromiter(self, dtype=object, count=len(self))
        kind = np.dtype(object if dtype is None else dtype).kind
        if kind not in "OUS":
            message = f"cells cannot be converted to {dtype}: the pixels are series.img.to_numpy({str(dtype)!r})"
            raise TypeError(message)
        return cells if kind == "O" else cells.astype(dtype)

    def __getitem__(self, item: Any) -> Any:
        key = validate_indexer(self, item)
        if isinstance(key, int):
            return self._cell(self._row(key))
        if isinstance(key, slice):
            view = self._simple_new(self._storage, self._rows[key])
            view._readonly = self._readonly
            return view
        positions = np.flatnonzero(key) if key.dtype == bool else key
        taken_rows = self.take(positions)
        taken_rows._readonly = self._readonly
        return taken_rows

    def _row(self, position: int) -> int:
        try:
            return self._rows[position]
        except IndexError:
            message = f"index {position} is out of bounds for axis 0 with size {len(self)}"
            raise IndexError(message) from None

    def _cell(self, row: int) -> Any:
        if self._storage.status[row] != 0:
            return pd.NA
        pixels = self._storage.block[row]
        # A later write in place must not change a cell that somebody keeps.
        return _from_readonly(readonly(pixels.copy() if self._storage.is_private else pixels))

    def __setitem__(self, key: Any, value: Any) -> None:
        rows: Any
        n: int | None
        if self._readonly:
            message = "Cannot modify read-only array"
            raise ValueError(message)
        key = validate_indexer(self, key)
        if isinstance(key, int):
            rows, n = self._row(key), None
        else:
            rows = np.asarray(self._rows, dtype=np.intp)[key]
            n = len(rows)
        pixels, codes, failures = self._validate_setitem_value(value, n)
        self._storage.write(rows, pixels, codes, failures)

    def _putmask(self, mask: Pixels, value: Any) -> None:
        if pd.api.types.is_list_like(value) and not is_image_like(value) and len(value) != 1:
            if len(value) != len(self):
                message = f"Length of values ({len(value)}) does not match length of index ({len(self)})"
                raise ValueError(message)
            value = self._from_sequence(value, dtype=self.dtype)[mask]
        self[mask] = value

    def _where(self, mask: Pixels, value: Any) -> Self:
        result = self.copy()
        result._putmask(~mask, value)
        return result

    def _validate_setitem_value(self, value: Any, n: int | None) -> tuple[Any, Any, tuple[Failure, ...]]:
        """Return pixels, status and failures of a value for n rows, or for one cell (None)."""
        if is_missing(value):
            return 0, MISSING, ()
        if is_image_like(value) or not pd.api.types.is_list_like(value):
            return validate_pixels_of(value, self.dtype.subtype, self.dtype.shape), 0, ()
        if n is None:
            message = "setting a cell with a sequence: give it one array of pixels, an ImageCell or None"
            raise ValueError(message)
        values = self._from_sequence(value, dtype=self.dtype)
        if len(values) not in (1, n):
            message = f"cannot set {n} rows from {len(values)} images: the lengths must match"
            raise ValueError(message)
        return values._pixels, values._status, values.failures

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Self:
        """Return the rows at positions, in that order.

        Parameters
        ----------
        indices : sequence of int
        allow_fill : bool, default False
            Whether -1 means a new row instead of the last one.
        fill_value : ImageCell, array or missing value, optional
            What a new row holds.

        Returns
        -------
        ImageArray
            With the failures of its rows.

        Raises
        ------
        IndexError
            When a position is out of bounds.
        ValueError
            When a position is below -1 with allow_fill.
        """
        positions = np.asarray(indices, dtype=np.intp)
        view = PixelStorage(self._pixels, self._status, self.failures)
        result = self._simple_new(take_rows(view, positions, fill=allow_fill))
        if allow_fill and not is_missing(fill_value):
            result[positions == MISSING] = fill_value
        return result

    def copy(self) -> Self:
        """Return an array of its own, which shares the block until one of both is written."""
        self._storage.mark_shared()
        return self._simple_new(PixelStorage(self._pixels, self._status, self.failures))

    @classmethod
    def _concat_same_type(cls, to_concat: Iterable[Any]) -> Self:
        arrays = list(to_concat)
        shapes = {str(array.dtype) for array in arrays}
        if len(shapes) > 1:
            message = f"image columns of different dtypes cannot become one: {', '.join(sorted(shapes))}"
            raise ValueError(message)
        statuses, failures = concat_failures((array._status, array.failures) for array in arrays)
        block = np.concatenate([array._pixels for array in arrays])
        return cls._simple_new(PixelStorage(block, np.concatenate(statuses), failures))

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Self:
        wanted: Any = None if dtype is None else pd.api.types.pandas_dtype(dtype)
        values = scalars.array if isinstance(scalars, (pd.Series, pd.Index)) else scalars
        if isinstance(values, np.ndarray) and values.ndim == 4:
            # The array may be written later by whoever holds it: unlike our own blocks, it cannot be shared.
            values, copy = cls(values.copy() if copy else values), False
        if isinstance(values, cls):
            values = values.copy() if copy else values
            return values if wanted is None else values._astype_image(wanted)
        return cls._from_images(list(values), wanted)

    @classmethod
    def _from_images(cls, values: list[Any], dtype: Any) -> Self:
        if dtype is None:
            first = next((value for value in values if not is_missing(value)), None)
            if first is None:
                message = "an image column without an image needs dtype=ImageDtype(...)"
                raise ValueError(message)
            cell = first if isinstance(first, ImageCell) else ImageCell(first)
            dtype = ImageDtype(cell.dtype, cell.shape)
        storage = empty_storage(len(values), dtype.subtype, dtype.shape)
        for row, value in enumerate(values):
            if is_missing(value):
                storage.status[row] = MISSING
            else:
                storage.block[row] = validate_pixels_of(value, dtype.subtype, dtype.shape)
        return cls._simple_new(storage)

    @classmethod
    def _from_factorized(cls, values: Any, original: Self) -> Self:
        return cls._from_sequence(values, dtype=original.dtype)

    def _astype_image(self, dtype: ImageDtype) -> Self:
        if dtype == self.dtype:
            return self
        if dtype.shape != self.dtype.shape:
            message = f"images of shape {self.dtype.shape} cannot be converted to shape {dtype.shape}: resize them"
            raise ValueError(message)
        return self._simple_new(PixelStorage(self._pixels.astype(dtype.subtype), self.status, self.failures))

    def __reduce__(self) -> tuple[Callable[..., ImageArray], tuple[Pixels, Pixels, tuple[Failure, ...]]]:
        status, failures = prune_failures(self.status, self.failures)
        return ImageArray, (np.ascontiguousarray(self.pixels), status, failures)

    def _formatter(self, boxed: bool = False) -> Callable[[Any], str]:  # noqa: ARG002  pandas' own
        return str

    # ---- Sameness: by pixels

    def _digests(self) -> Pixels:
        return digests(self._pixels, self.isna())

    def factorize(self, use_na_sentinel: bool = True) -> tuple[Pixels, Self]:
        """Return a number for each row and the images they stand for, in order of appearance."""
        codes, uniques = pd.factorize(self._digests(), use_na_sentinel=use_na_sentinel)
        return codes, self.take(first_occurrences(codes, len(uniques)))

    def _values_for_factorize(self) -> tuple[Pixels, Any]:
        return self._digests(), pd.NA

    def unique(self) -> Self:
        """Return each different image once, in order of appearance."""
        return self.factorize(use_na_sentinel=False)[1]

    def duplicated(self, keep: Any = "first") -> Pixels:
        """Return which rows repeat another one: ndarray of bool, shape (n,)."""
        return pd.Series(self._digests(), dtype=object).duplicated(keep=keep).to_numpy()

    def value_counts(self, dropna: bool = True) -> pd.Series[Any]:
        """Return how often each image stands here, by image in order of appearance."""
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
        """Return where rows are the same as another's, and where the other is missing."""
        never, none = np.zeros(len(self), dtype=bool), np.zeros(len(self), dtype=bool)
        if is_missing(other):
            return never, ~none
        if isinstance(other, ImageCell):
            other = self._simple_new(PixelStorage(np.asarray(other)[None], np.zeros(1, dtype=np.int32)))
        elif not pd.api.types.is_list_like(other):
            return never, none
        elif len(other) != len(self):
            message = f"Lengths must match to compare: {len(self)} and {len(other)}"
            raise ValueError(message)
        if not isinstance(other, ImageArray):
            return scalars_equal(self, other)
        if other.dtype != self.dtype:
            return never, none | other.isna()
        return rows_equal(self._pixels, other._pixels), none | other.isna()

    def _groupby_op(
        self,
        *,
        how: str,
        min_count: int,
        ngroups: int,
        ids: Pixels,
        **kwargs: Any,
    ) -> Any:
        if how not in ("first", "last"):
            raise_unsupported(how)
        present = ids >= 0
        if kwargs.get("skipna", True):
            present &= ~self.isna()
        rows = np.flatnonzero(present)
        rows = rows if how == "last" else rows[::-1]
        found = np.full(ngroups, MISSING, dtype=np.intp)
        found[ids[rows]] = rows
        counts = np.bincount(ids[present & ~self.isna()], minlength=ngroups)
        found[counts < min_count] = MISSING
        return self.take(found, allow_fill=True)

    # ---- Arrow and Dask

    def __arrow_array__(self, type: Any = None) -> Any:  # noqa: A002  pyarrow's own
        array = arrow.to_arrow(self.pixels, self.isna())
        if type is None or type == array.type:
            return array
        return array.storage.cast(type)

    @classmethod
    def from_arrow(cls, array: Any, dtype: ImageDtype | str | None = None) -> Self:
        """Return the images of an Arrow array, without a copy when it is in one piece.

        Parameters
        ----------
        array : pyarrow.Array or pyarrow.ChunkedArray
            Of this library's images, of ``fixed_shape_tensor`` with the shape (height, width) or (height,
            width, channels), or of ``fixed_size_binary``.
        dtype : ImageDtype or its name, optional
            Needed for ``fixed_size_binary``, which does not say what its bytes mean.

        Returns
        -------
        ImageArray
            Missing where the Arrow array has nulls.

        Raises
        ------
        TypeError
            When the Arrow type holds no images, or others than dtype says.

        Examples
        --------
        >>> import pyarrow as pa
        >>> stored = pa.array([b"abc", None], pa.binary(3))
        >>> ImageArray.from_arrow(stored, "image[uint8, (1, 1, 3)]")
        <ImageArray>
        [<image 1×1×3 uint8>, <NA>]
        Length: 2, dtype: image[uint8, (1, 1, 3)]
        """
        expected: Any = None if dtype is None else pd.api.types.pandas_dtype(dtype)
        wanted = () if expected is None else (expected.subtype, expected.shape)
        block, missing = arrow.from_arrow(array, *wanted)
        return cls(block, np.where(missing, np.int32(MISSING), np.int32(0)))

    def __dask_tokenize__(self) -> object:
        status, failures = prune_failures(self._status, self.failures)
        digest = hashlib.blake2b(np.ascontiguousarray(self._pixels).data, digest_size=16)
        table = tuple(tuple(failure.items()) for failure in failures)
        return "pandas_imgproc.ImageArray", self.dtype.name, digest.hexdigest(), status.tobytes(), table


ImageDtype.array_type = ImageArray
