"""Task of `map_batches`: results of a user's function for batches of images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._timing import timed
from pandas_imgproc.array import ImageArray, ImageDtype
from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.tasks import batch_results, result_columns
from pandas_imgproc.tasks.base import Task, with_labels
from pandas_imgproc.tasks.rng import isolate_dask_rng, seeded
from pandas_imgproc.tasks.user_function import load_pixels, store_result, user_code
from pandas_imgproc.tasks.user_instance import build_function, function_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pandas_imgproc.codec import DecodeOptions
    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class MapBatches(Task):
    """Result of a user's function for each batch of images.

    Attributes
    ----------
    func : callable
        Of pixels: for each image column an ndarray of uint8, shape (k, height, width, channels).
    decode_options : DecodeOptions
        Options of the decoded images that the function receives, all of one shape.
    batch_size : int
        Rows of a batch: positions b * batch_size to (b + 1) * batch_size - 1 of the frame.
    prefix : str, optional
        Names of the columns of a vector before their number.
    dtype : dtype, or dict of dtype by column, optional
        Of the result.
    n_columns : int, optional
        Length of the vectors, if it must be known before the first result.
    column_names : tuple, optional
        Names of other columns of the frame that the function receives too.
    is_decoded : bool
        Whether the inputs are pixels that a `LoadImages` has decoded.
    strict : bool
        Whether `dtype` and `n_columns` declare the result, because all partitions must be alike.
    """

    func: Callable[..., Any]
    decode_options: DecodeOptions
    batch_size: int
    prefix: str | None = None
    dtype: Any = None
    n_columns: int | None = None
    column_names: tuple[Any, ...] | None = None
    is_decoded: bool = False
    strict: bool = False
    name = "map_batches"
    needs_cluster = True
    uses_position = True
    fills_blocks = True
    mixed_shapes_hint = "func must return arrays of one dtype, and of one shape behind the first axis"

    @property
    def block_rows(self) -> int:
        """Rows of a batch."""
        return self.batch_size

    @property
    def user_functions(self) -> tuple[Callable[..., Any], ...]:
        """Function or class of the user."""
        return (self.func,)

    def build(self) -> Self:
        """Return the task with an instance in place of a class."""
        isolate_dask_rng()
        return dataclasses.replace(self, func=build_function(self.func))

    def clone_for_thread(self) -> Self:
        """Return the task itself, for a thread whose random numbers do not steer Dask."""
        isolate_dask_rng()
        return self

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the decoded images of a batch, and of a copy."""
        return 2 * self.batch_size * self.decode_options.nbytes

    @property
    def has_open_form(self) -> bool:
        """Whether the form of the result is known with the first one only."""
        return not self.strict and not isinstance(self.dtype, dict | ImageDtype) and self.n_columns is None

    def allocate(self, n: int) -> Values:
        """Return n rows of zeros if their shape and dtype are declared, else an array of objects."""
        if isinstance(self.dtype, ImageDtype):
            return np.zeros((n, *self.dtype.shape), dtype=self.dtype.subtype)
        if self.n_columns is not None:
            return np.zeros((n, self.n_columns), dtype=batch_results.storage_dtype(self.dtype))
        return np.full(n, None, dtype=object)

    def load(self, file: InputFile | Iterable[InputFile]) -> Any:
        """Return the pixels of one row: a list with an array for each image column."""
        files: Any = file if hasattr(file, "__iter__") else (file,)
        if self.is_decoded:
            return [one.data() for one in files]
        return [load_pixels(one.data(), self.decode_options) for one in files]

    def fill_block(
        self, out: Sequence[Values], position: int, files: Sequence[InputFile], items: Sequence[Any]
    ) -> None:
        """Call the function on a batch, and write its rows into ``out``."""
        arguments = [_stack(images) for images in zip(*items, strict=True)]
        if self.column_names:
            arguments.append(files[0].columns.iloc[[file.i for file in files]])
        with timed("function"), seeded(self.func, 0, position, 0), user_code():
            arrays = batch_results.to_arrays(self.func(*arguments), self.prefix or "")
        for row, value in zip(out, self._split(arrays, len(items)), strict=True):
            store_result(row, 0, value)

    def _split(self, arrays: Any, n: int) -> Sequence[Any] | Values:
        """Return the rows of a result, in the form that `dtype` declares."""
        plain = None if isinstance(self.dtype, dict | ImageDtype) else self.dtype
        rows = batch_results.split_rows(arrays, n, plain)
        if self.strict and plain is not None and self.n_columns is None and np.ndim(arrays) != 1:
            raise UserFunctionError(
                "it returned more than a value for each image; n_columns= declares those of a vector"
            )
        if not isinstance(self.dtype, dict):
            return rows
        dtypes: dict[Any, Any] = self.dtype
        if isinstance(arrays, np.ndarray):
            if arrays.ndim != 2 or arrays.shape[1] != len(dtypes):
                raise UserFunctionError(f"it returned an array of shape {arrays.shape}; by dtype= ({n}, {len(dtypes)})")
            return [dict(zip(dtypes, row, strict=True)) for row in arrays]
        return [self._declared_row(row) for row in batch_results.to_dicts(arrays, n)]

    def _declared_row(self, row: dict[str, Any]) -> dict[str, Any]:
        undeclared = [name for name in row if name not in self.dtype]
        if undeclared:
            raise UserFunctionError(f"it returned {undeclared[0]!r:.60} too; dtype= declares the columns")
        return row

    def is_stackable(self, value: Any) -> bool:
        """Return whether a value is a vector, an image or a record of numbers."""
        return batch_results.describe_row(value) is not None

    def result_form(self, value: Any) -> str | None:
        """Return the form of one result."""
        return batch_results.describe_row(value) or result_columns.describe_form(value)

    def with_nullable_dtype(self) -> Self:
        """Return the task with a dtype that holds missing values."""
        if self.dtype is None or isinstance(self.dtype, ImageDtype):
            return self
        if isinstance(self.dtype, dict):
            return dataclasses.replace(self, dtype={name: _nullable(dtype) for name, dtype in self.dtype.items()})
        return dataclasses.replace(self, dtype=_nullable(self.dtype))

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return a Series of scalars or images, or a DataFrame of vectors or dicts."""
        valid = status == 0
        values = self._stacked(values, valid)
        if values.dtype != object and values.ndim == 4:
            return pd.Series(ImageArray(values, status, failures), index=index, name="image", copy=False)
        result = self._to_frame(values, valid, index)
        if result is None:
            name = function_name(self.func)
            column = result_columns.to_column(values, valid, self.dtype)
            name = name if name.isidentifier() else "map_batches"
            result = pd.Series(column, index=index, name=name, dtype=column.dtype, copy=False)
        result.attrs["failures"] = with_labels(failures, index)
        return result

    def _to_frame(self, values: Values, valid: Values, index: pd.Index[Any]) -> pd.DataFrame | None:
        if values.dtype.names:
            return batch_results.records_to_frame(values, valid, self.dtype, index)
        if values.dtype != object:
            return batch_results.vectors_to_frame(values, valid, self.prefix or "", self.dtype, index)
        return result_columns.to_frame(values, valid, self.dtype, index)

    def _stacked(self, values: Values, valid: Values) -> Values:
        """Return vectors, images and records as one array: those of a part are objects."""
        first = (
            next((value for value in values[valid] if self.is_stackable(value)), None)
            if values.dtype == object
            else None
        )
        if first is None:
            return values
        stacked = np.zeros((len(values), *first.shape), first.dtype)
        for i in np.flatnonzero(valid):
            stacked[i] = values[i]
        return stacked


def _stack(images: Sequence[Values]) -> Values:
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise UserFunctionError(f"images of one batch have the shapes {sorted(shapes)[:3]!r}; give size=")
    return np.stack(images)


def _nullable(dtype: Any) -> Any:
    return pd.api.types.pandas_dtype(result_columns.nullable(dtype) or dtype)


@dataclass(frozen=True)
class LoadImages(Task):
    """Pixels of the images of each row, for a function that runs in the caller."""

    decode_options: DecodeOptions
    n_images: int
    name = MapBatches.name

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of a row: (image columns, height, width, channels)."""
        return (self.n_images, *self.decode_options.shape)

    def allocate(self, n: int) -> Values:
        """Return n rows of black images."""
        return np.zeros((n, *self.row_shape), dtype=np.uint8)

    def fill(self, out: Values, position: int, file: InputFile | Iterable[InputFile]) -> None:  # noqa: ARG002
        """Decode the images of one row into ``out[0]``."""
        files: Any = file if hasattr(file, "__iter__") else (file,)
        for pixels, one in zip(out[0], files, strict=True):
            codec.decode_into(one.data(), self.decode_options, pixels)

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any]:
        """Raise an error: the caller's task has the result."""
        raise NotImplementedError
