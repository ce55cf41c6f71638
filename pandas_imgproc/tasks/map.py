"""Task of `map`: results of a user's function for each image."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from pandas_imgproc._text import shorten, truncate
from pandas_imgproc._timing import timed
from pandas_imgproc.array import ImageArray, ImageDtype
from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.tasks import result_columns
from pandas_imgproc.tasks.base import Task, with_labels
from pandas_imgproc.tasks.result_columns import describe_form
from pandas_imgproc.tasks.user_function import as_image_array, check_unmasked, load_pixels, store_result, user_code
from pandas_imgproc.tasks.user_instance import build_function, function_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pandas_imgproc.codec import DecodeOptions
    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values

_SCALARS = (numbers.Number, str, bytes, date, time, timedelta, np.generic, type(None), type(pd.NA), type(pd.NaT))


@dataclass(frozen=True)
class Map(Task):
    """Result of a user's function for each image.

    Attributes
    ----------
    func : callable
        Of pixels: ndarray of uint8, shape (height, width, channels).
    decode_options : DecodeOptions
        Options of the decoded image that the function receives.
    dtype : dtype, or dict of dtype by column, optional
        Of the result.
    strict : bool
        Whether `dtype` declares all columns of the result, because all partitions must have the same ones.
    prefix : str, optional
        Names of the columns before the number of a vector's element, or before the key of a dict.
    column_names : tuple, optional
        Names of other columns of the frame, of which the function receives a row too.
    """

    func: Callable[..., Any]
    decode_options: DecodeOptions
    dtype: Any = None
    strict: bool = False
    prefix: str | None = None
    column_names: tuple[Any, ...] | None = None
    name = "map"
    needs_cluster = True
    mixed_shapes_hint = (
        "func must return results of one dtype and shape: with size= all images that it is given are of one shape"
    )

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the decoded image, of a copy and of an image of the same size as the result."""
        return 3 * self.decode_options.nbytes

    @property
    def user_functions(self) -> tuple[Callable[..., Any], ...]:
        """Function or class of the user."""
        return (self.func,)

    def build(self) -> Self:
        """Return the task with an instance in place of a class."""
        return dataclasses.replace(self, func=build_function(self.func))

    @property
    def has_open_form(self) -> bool:
        """Whether the result may be a value or a vector, which is known with the first one."""
        return not self.strict and not isinstance(self.dtype, dict | ImageDtype)

    def allocate(self, n: int) -> Values:
        """Return n black images if `dtype` is that of images, else an array of objects."""
        if isinstance(self.dtype, ImageDtype):
            return np.zeros((n, *self.dtype.shape), dtype=self.dtype.subtype)
        return np.full(n, None, dtype=object)

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Call the function on one image and write its result into ``out[0]``."""
        arguments = [load_pixels(file.data(), self.decode_options)]
        if self.column_names:
            arguments.append(file.columns.iloc[file.i])
        with timed("function"), user_code():
            result = self.func(*arguments)
        result = normalize_result(result)
        if self.prefix and isinstance(result, dict):
            result = {f"{self.prefix}{name}": value for name, value in result.items()}
        store_result(out, 0, self._validate_result(result))

    def _validate_result(self, result: Any) -> Any:
        """Return a result that `dtype` allows, or raise a UserFunctionError."""
        self._check_columns(result)
        self._check_dtype(result)
        return result

    def _check_columns(self, result: Any) -> None:
        """Raise a UserFunctionError if a result has other columns than `dtype` declares."""
        names = self._column_names(result)
        if isinstance(self.dtype, dict) and names is None:
            raise UserFunctionError(f"it returned {_describe(result)}; by dtype= it is a dict or a 1-D array")
        if not self.strict or names is None:
            return
        if not isinstance(self.dtype, dict):
            raise UserFunctionError(
                f"it returned {_describe(result)}; by dtype= it is one value; a dict of dtypes declares columns"
            )
        undeclared = [name for name in names if name not in self.dtype]
        if undeclared:
            columns = f"{list(self.dtype)!r:.100}"
            raise UserFunctionError(f"it returned {shorten(undeclared[0])} too; by dtype= the columns are {columns}")

    def _check_dtype(self, result: Any) -> None:
        """Raise a UserFunctionError if `dtype` cannot hold a value of a result."""
        if self.dtype is None or isinstance(self.dtype, ImageDtype) or describe_form(result) is None:
            return
        values = {None: result} if self._column_names(result) is None else dict(self._items(result))
        for name, value in values.items():
            dtype = self.dtype.get(name) if isinstance(self.dtype, dict) else self.dtype
            if dtype is not None and not result_columns.fits(value, dtype):
                column = "" if name is None else f" for the column {shorten(name)}"
                raise UserFunctionError(f"it returned {shorten(value)}{column}; dtype={str(dtype)!r} cannot hold it")

    def _column_names(self, result: Any) -> Iterable[Any] | None:
        """Return the column names of a result that is a row of a frame, else None."""
        if isinstance(result, np.ndarray) and result.ndim == 1:
            return result_columns.element_names(len(result), self.prefix or "", self.dtype)
        return result if isinstance(result, dict) else None

    def _items(self, result: Any) -> Iterable[tuple[Any, Any]]:
        return (
            result.items() if isinstance(result, dict) else zip(self._column_names(result) or (), result, strict=True)
        )

    def result_form(self, value: Any) -> str | None:
        """Return the form of one result; with a dict of dtypes, dicts and arrays are rows of the same columns."""
        form = describe_form(value)
        return "columns" if isinstance(self.dtype, dict) and form is not None else form

    def with_nullable_dtype(self) -> Self:
        """Return the task with a dtype that holds missing values."""
        if isinstance(self.dtype, dict):
            return dataclasses.replace(self, dtype={name: _nullable(dtype) for name, dtype in self.dtype.items()})
        return dataclasses.replace(self, dtype=_nullable(self.dtype))

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return a Series of scalars or images, or a DataFrame of dicts or vectors."""
        if values.dtype != object:
            return pd.Series(ImageArray(values, status, failures), index=index, name="image", copy=False)
        valid = status == 0
        frame = result_columns.to_frame(values, valid, self.dtype, index, self.prefix or "")
        result = self._to_series(values, valid, index) if frame is None else frame
        result.attrs["failures"] = with_labels(failures, index)
        return result

    def _to_series(self, values: Values, valid: Values, index: pd.Index[Any]) -> pd.Series[Any]:
        name = function_name(self.func) if self.has_class else getattr(self.func, "__name__", "map")
        column = result_columns.to_column(values, valid, self.dtype)
        name = name if name.isidentifier() else "map"
        series: pd.Series[Any] = pd.Series(column, index=index, name=name, dtype=column.dtype, copy=False)
        return series


def _nullable(dtype: Any) -> Any:
    return pd.api.types.pandas_dtype(result_columns.nullable(dtype) or dtype)


def normalize_result(result: Any) -> Any:
    """Return a function's result as a scalar, a dict, a vector or an image.

    Returns
    -------
    scalar, dict, ndarray of shape (k,), or ndarray of shape (height, width, channels)

    Raises
    ------
    UserFunctionError
        If the result is none of these.

    Examples
    --------
    >>> normalize_result((1, 2)), normalize_result(np.zeros((4, 6))).shape
    (array([1, 2]), (4, 6, 1))
    """
    check_unmasked(result)
    if isinstance(result, _SCALARS):
        return result
    if isinstance(result, pd.Series | Mapping):
        return {name: _to_scalar(value) for name, value in result.items()}
    array = np.asarray(result) if isinstance(result, list | tuple) else result
    image = as_image_array(array)
    if image is not None:
        return image
    if hasattr(array, "__array__") and np.ndim(array) < 2 and np.asarray(array).dtype != object:
        vector = np.asarray(array)
        return vector if vector.ndim else vector[()]
    raise UserFunctionError(
        f"it returned {_describe(result)}; return a number or text, a dict of them, a 1-D array, or an image "
        "of shape (height, width) or (height, width, 1, 3 or 4)"
    )


def _to_scalar(value: Any) -> Any:
    if isinstance(value, _SCALARS):
        return value
    if hasattr(value, "__array__") and np.ndim(value) == 0:
        return np.asarray(value)[()]
    raise UserFunctionError(f"it returned a dict that holds {_describe(value)}; it may hold numbers and texts")


def _describe(value: Any) -> str:
    shape = f" of shape {np.shape(value)}" if hasattr(value, "__array__") else ""
    return f"{truncate(type(value).__name__, 60)}{shape}"
