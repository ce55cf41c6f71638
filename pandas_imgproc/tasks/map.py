"""Any function of one image."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from pandas_imgproc._timing import timed
from pandas_imgproc.array import ImageArray, ImageDtype
from pandas_imgproc.tasks import result_columns
from pandas_imgproc.tasks.base import Task, with_labels
from pandas_imgproc.tasks.user_function import (
    UserFunctionError,
    as_image_array,
    explain,
    load_pixels,
    store_result,
    user_code,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pandas_imgproc.codec import DecodeOptions
    from pandas_imgproc.errors import Failure, FailureKind
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values

_SCALARS = (numbers.Number, str, bytes, date, time, timedelta, np.generic, type(None), type(pd.NA), type(pd.NaT))


@dataclass(frozen=True)
class Map(Task):
    """What a function makes of each image.

    Attributes
    ----------
    func : callable
        Of pixels: ndarray of uint8, shape (height, width, channels).
    decode_options : DecodeOptions
        How images become pixels.
    dtype : dtype, or dict of dtype by column, optional
        Of the answer.
    strict : bool
        Whether `dtype` tells of all columns of the answer, because all parts must be alike.
    """

    func: Callable[..., Any]
    decode_options: DecodeOptions
    dtype: Any = None
    strict: bool = False
    name: ClassVar[str] = "map"
    needs_cluster: ClassVar[bool] = True
    mixed_shapes_hint: ClassVar[str] = (
        "func must return one form for all: with size= all images it is given are of one shape"
    )

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the pixels of one row, on their way."""
        return 3 * self.decode_options.nbytes

    def allocate(self, n: int) -> Values:
        """Return n black images if `dtype` says that they are, else room for n objects."""
        if isinstance(self.dtype, ImageDtype):
            return np.zeros((n, *self.dtype.shape), dtype=self.dtype.subtype)
        return np.full(n, None, dtype=object)

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the task's
        """Call the function on one image."""
        pixels = load_pixels(file.data(), self.decode_options)
        with timed("function"), user_code():
            result = self.func(pixels)
        store_result(out, 0, self._checked(normalize_result(result)))

    def _checked(self, answer: Any) -> Any:
        """Return an answer that makes a frame or a column, as `dtype` says."""
        names = _names(answer)
        if isinstance(self.dtype, dict) and names is None:
            raise UserFunctionError(f"it returned {_said(answer)}; by dtype= it is a dict or a 1-D array")
        if not self.strict or names is None:
            return answer
        if not isinstance(self.dtype, dict):
            raise UserFunctionError(
                f"it returned {_said(answer)}; by dtype= it is one value; a dict of dtypes says columns"
            )
        more = [name for name in names if name not in self.dtype]
        if more:
            raise UserFunctionError(
                f"it returned {more[0]!r:.100} too; by dtype= the columns are {list(self.dtype)!r:.100}"
            )
        return answer

    def with_nullable_dtype(self) -> Self:
        """Return the task with a dtype that holds missing values."""
        if isinstance(self.dtype, dict):
            return dataclasses.replace(self, dtype={name: _nullable(dtype) for name, dtype in self.dtype.items()})
        return dataclasses.replace(self, dtype=_nullable(self.dtype))

    def explain(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return why a row has no answer."""
        return explain(exc)

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return a column of scalars, a frame of dicts or vectors, or a column of images."""
        if values.dtype != object:
            return pd.Series(ImageArray(values, status, failures), index=index, name="image", copy=False)
        there = status == 0
        frame = result_columns.frame_of(values, there, self.dtype, index)
        answer = self._column(values, there, index) if frame is None else frame
        answer.attrs["failures"] = with_labels(failures, index)
        return answer

    def _column(self, values: Values, there: Values, index: pd.Index[Any]) -> pd.Series[Any]:
        name = getattr(self.func, "__name__", "map")
        column = result_columns.column_of(values, there, self.dtype)
        return pd.Series(column, index=index, name=name if name.isidentifier() else "map", copy=False)


def _nullable(dtype: Any) -> Any:
    return pd.api.types.pandas_dtype(result_columns.nullable(dtype) or dtype)


def normalize_result(result: Any) -> Any:
    """Return what a function returned in one of the forms that make a column or a frame.

    Returns
    -------
    scalar, dict, ndarray of shape (k,), or ndarray of shape (height, width, channels)

    Raises
    ------
    UserFunctionError
        If it is none of these.

    Examples
    --------
    >>> normalize_result((1, 2)), normalize_result(np.zeros((4, 6))).shape
    (array([1, 2]), (4, 6, 1))
    """
    if isinstance(result, _SCALARS):
        return result
    if isinstance(result, pd.Series | Mapping):
        return {name: _scalar(value) for name, value in result.items()}
    array = np.asarray(result) if isinstance(result, list | tuple) else result
    image = as_image_array(array)
    if image is not None:
        return image
    if hasattr(array, "__array__") and np.ndim(array) < 2 and np.asarray(array).dtype != object:
        vector = np.asarray(array)
        return vector if vector.ndim else vector[()]
    raise UserFunctionError(
        f"it returned {_said(result)}; return a number or text, a dict of them, a 1-D array, or an image "
        "of shape (height, width) or (height, width, 1, 3 or 4)"
    )


def _names(answer: Any) -> Iterable[Any] | None:
    """Return the columns that an answer has values for; None if it is no row of a frame."""
    if isinstance(answer, np.ndarray) and answer.ndim == 1:
        return range(len(answer))
    return answer if isinstance(answer, dict) else None


def _scalar(value: Any) -> Any:
    if isinstance(value, _SCALARS):
        return value
    if hasattr(value, "__array__") and np.ndim(value) == 0:
        return np.asarray(value)[()]
    raise UserFunctionError(f"it returned a dict that holds {_said(value)}; it may hold numbers and texts")


def _said(value: Any) -> str:
    shape = f" of shape {np.shape(value)}" if hasattr(value, "__array__") else ""
    return f"{type(value).__name__}{shape}"
