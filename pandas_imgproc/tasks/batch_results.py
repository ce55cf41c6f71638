"""Results of a user's function for a batch of images: arrays become rows, and the rows of all batches columns.

A row is a scalar, a vector, an image, or a record: a structured scalar with a field for each array of a dict. Records,
vectors and images of numbers lie in shared memory; a dict that holds texts becomes a dict for each row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pandas_imgproc._text import shorten, truncate
from pandas_imgproc.array import ImageArray
from pandas_imgproc.errors import BatchLengthError, UserFunctionError
from pandas_imgproc.tasks.result_columns import nullable
from pandas_imgproc.tasks.user_function import check_unmasked

Array = np.ndarray[Any, np.dtype[Any]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

_STORABLE_KINDS = "biufcmM"
"""Kinds of dtypes that lie in shared memory."""


def to_arrays(result: Any, prefix: str = "") -> dict[str, Array] | Array:
    """Return the return value of a function as an array, or as a dict of arrays; a tensor of images channels last.

    `prefix` begins the names of a dict or a frame.

    Examples
    --------
    >>> to_arrays([1, 2]), to_arrays(pd.DataFrame({"a": [1, 2]}))
    (array([1, 2]), {'a': array([1, 2])})
    """
    if isinstance(result, Mapping | pd.DataFrame):
        _check_unique(map(str, result))
        return {f"{prefix}{name}": _to_array(value) for name, value in result.items()}
    return _to_array(result)


def _check_unique(names: Iterable[str]) -> None:
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if repeated:
        raise UserFunctionError(f"it returned several columns named {shorten(repeated[0])}; rename all but one")


def _to_array(value: Any) -> Array:
    check_unmasked(value)
    array = np.asarray(value)
    if array.ndim == 4 and type(value).__module__.partition(".")[0] == "torch":
        array = np.moveaxis(array, 1, 3)
    return array


def split_rows(arrays: dict[str, Array] | Array, n: int, dtype: Any = None) -> Sequence[Any] | Array:
    """Return the n rows of a batch's result.

    Parameters
    ----------
    arrays : ndarray, or dict of ndarray
        Of shape (n,), (n, d), (n, height, width) or (n, height, width, channels).
    n : int
        Images of the batch.
    dtype : dtype, optional
        Of the rows.

    Raises
    ------
    BatchLengthError
        If the first axis of an array is not n.
    UserFunctionError
        If an array has another form, or `dtype` cannot hold it.

    Examples
    --------
    >>> split_rows(np.array([[1, 2], [3, 4]]), 2, np.dtype("float32"))[1]
    array([3., 4.], dtype=float32)
    """
    if isinstance(arrays, dict):
        if not arrays:
            raise UserFunctionError("it returned an empty dict")
        fields = {name: _checked(array, n, dtype, f" for {shorten(name)}") for name, array in arrays.items()}
        _check_unique(name for key, array in fields.items() for name in _column_names(key, array))
        return _to_records(fields, n)
    array = _checked(arrays, n, dtype, "")
    if array.ndim == 2 and array.dtype.kind not in _STORABLE_KINDS:
        return to_dicts({"": array}, n)
    return array


def _checked(array: Array, n: int, dtype: Any, where: str) -> Array:
    if not array.ndim:
        raise UserFunctionError(f"it returned {shorten(array[()])}{where}; return an array with a row for each image")
    if len(array) != n:
        raise BatchLengthError(
            f"it returned an array of shape {array.shape}{where} for a batch of {n} images: its first axis has length "
            f"{len(array)}, and must have {n}"
        )
    array = array[..., np.newaxis] if array.ndim == 3 else array
    is_image = array.ndim == 4 and array.shape[3] in (1, 3, 4) and array.dtype.kind in "buif" and array.size
    if array.ndim > 2 and not is_image:
        raise UserFunctionError(
            f"it returned an array of {array.dtype} and shape {array.shape}{where}; return ({n},), ({n}, d), or images "
            f"({n}, height, width, 1, 3 or 4)"
        )
    return array if dtype is None or is_image else cast(array, dtype)


def cast(array: Array, dtype: Any) -> Array:
    """Return an array in the NumPy dtype below a dtype of pandas, or raise a UserFunctionError if that loses values."""
    target = storage_dtype(dtype)
    if target is None or array.dtype == target:
        return array
    if not np.can_cast(array.dtype, target, "same_kind"):
        raise UserFunctionError(f"it returned {array.dtype}; dtype={str(dtype)!r} cannot hold it")
    return array.astype(target)


def storage_dtype(dtype: Any) -> np.dtype[Any] | None:
    """Return the NumPy dtype in which values of a dtype are stored, None if they are Python objects.

    Examples
    --------
    >>> storage_dtype(pd.Int16Dtype()), storage_dtype(np.dtype("float32")), storage_dtype(np.dtype(object))
    (dtype('int16'), dtype('float32'), None)
    """
    dtype = getattr(dtype, "numpy_dtype", dtype)
    return dtype if isinstance(dtype, np.dtype) and dtype.kind in _STORABLE_KINDS else None


def _to_records(fields: dict[str, Array], n: int) -> Sequence[Any] | Array:
    if not all(array.dtype.kind in _STORABLE_KINDS for array in fields.values()):
        return to_dicts(fields, n)
    if "" in fields:
        raise UserFunctionError("it returned a dict with an empty name")
    records = np.empty(n, dtype=[(name, array.dtype, array.shape[1:]) for name, array in fields.items()])
    for name, array in fields.items():
        records[name] = array
    return records


def to_dicts(fields: dict[str, Array], n: int) -> list[dict[str, Any]]:
    """Return the rows of some arrays as dicts, in which each element of a vector has a name of its own.

    Examples
    --------
    >>> to_dicts({"a": np.array([[1, 2]])}, 1)
    [{'a_0': np.int64(1), 'a_1': np.int64(2)}]
    """
    if any(array.ndim > 2 for array in fields.values()):
        raise UserFunctionError("it returned a dict of images and texts; return the texts in another call")
    columns = {name: column for key, array in fields.items() for name, column in _columns_of(key, array)}
    return [{name: column[i] for name, column in columns.items()} for i in range(n)]


def _columns_of(key: str, array: Array) -> list[tuple[str, Array]]:
    columns = [array] if array.ndim == 1 else [array[:, k] for k in range(array.shape[1])]
    return list(zip(_column_names(key, array), columns, strict=True))


def _column_names(key: str, array: Array) -> list[str]:
    """Return the names of the columns of an array: several for vectors, one for scalars and images."""
    if array.ndim != 2:
        return [key]
    prefix = f"{key}_" if key else ""
    return [f"{prefix}{k}" for k in range(array.shape[1])]


def describe_row(row: Any) -> str | None:
    """Return the form of a stored row, as messages name it; None of a value that is no array.

    Examples
    --------
    >>> describe_row(np.zeros(3, "float32")), describe_row(5)
    ('an array of float32 and shape (3,)', None)
    """
    if isinstance(row, np.void) or (isinstance(row, np.ndarray) and row.dtype.names):
        fields = [f"{name} of {row.dtype[name].base}{row.dtype[name].shape or ''}" for name in row.dtype.names or ()]
        return f"a dict with {truncate(', '.join(fields), 200)}"
    if isinstance(row, np.ndarray) and row.dtype != object:
        return f"{'an image' if row.ndim == 3 else 'an array'} of {row.dtype} and shape {row.shape}"
    return None


# ---- rows of all batches


def vectors_to_frame(values: Array, valid: Mask, prefix: str, dtype: Any, index: pd.Index[Any]) -> pd.DataFrame:
    """Return vectors as a frame with a column for each element, missing where the mask is False.

    Parameters
    ----------
    values : ndarray, shape (n, d)
        One vector for each row.
    valid : ndarray of bool, shape (n,)
        Mask of the rows with a result.
    prefix : str
        Names of the columns before their number.
    dtype : dtype, optional
        Of the columns.
    index : Index
        Of the frame.
    """
    names = pd.Index([f"{prefix}{k}" for k in range(values.shape[1])], dtype="str")
    values, missing_dtype = _with_missing(values, valid)
    frame = pd.DataFrame(values, index=index, columns=names, copy=False)
    if missing_dtype is None:
        return frame if dtype is None or isinstance(dtype, np.dtype) else frame.astype(dtype)
    return frame.astype(missing_dtype).mask(np.broadcast_to(~valid[:, None], frame.shape))


def _with_missing(values: Array, valid: Mask) -> tuple[Array, Any]:
    """Return values with NaN or NaT where the mask is False, and the nullable dtype of those that have neither."""
    if valid.all():
        if values.base is not None and not values.flags.writeable:
            values = values.copy()
        return values, None
    if nullable(values.dtype) is not None:
        return values, nullable(values.dtype)
    values = values.copy()
    values[~valid] = np.array("NaT", values.dtype) if values.dtype.kind in "mM" else np.nan
    return values, None


def to_masked_column(values: Array, valid: Mask, dtype: Any = None) -> Any:
    """Return scalars of one NumPy dtype as a column, missing where the mask is False."""
    values, missing_dtype = _with_missing(values, valid)
    column = pd.Series(values, copy=False)
    if missing_dtype is not None:
        column = column.astype(missing_dtype).mask(~valid)
    elif dtype is not None and not isinstance(dtype, np.dtype):
        column = column.astype(dtype)
    return column.array


def records_to_frame(values: Array, valid: Mask, dtype: Any, index: pd.Index[Any]) -> pd.DataFrame:
    """Return records as a frame: a column for each scalar and image, and one for each element of a vector."""
    parts: list[Any] = []
    for name in values.dtype.names or ():
        field = np.ascontiguousarray(values[name])
        if field.ndim == 2:
            parts.append(vectors_to_frame(field, valid, f"{name}_", dtype, index))
        elif field.ndim == 4:
            status = np.where(valid, 0, -1).astype(np.int32)
            parts.append(pd.Series(ImageArray(field, status), index=index, name=name, copy=False))
        else:
            parts.append(pd.Series(to_masked_column(field, valid, dtype), index=index, name=name, copy=False))
    frame: pd.DataFrame = pd.concat(parts, axis=1)
    return frame
