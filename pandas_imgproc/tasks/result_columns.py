"""Conversion of a user function's results to pandas columns; integers stay integers where rows are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc._text import truncate

if TYPE_CHECKING:
    from collections.abc import Hashable

_CONVERSION_ERRORS = (
    ValueError, TypeError, OverflowError, ArithmeticError, NotImplementedError, LookupError, AttributeError
)  # fmt: skip

ObjectArray = np.ndarray[Any, np.dtype[Any]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def to_column(values: ObjectArray, valid: Mask, dtype: Any = None) -> Any:
    """Return scalars as one column, missing where the mask is False.

    Parameters
    ----------
    values : ndarray of object, shape (n,)
        The scalars.
    valid : ndarray of bool, shape (n,)
        Mask of the rows with a result.
    dtype : dtype, optional
        Of the column; by default inferred by pandas. If a row is missing, a dtype without missing values is replaced
        by pandas' nullable one.

    Returns
    -------
    ExtensionArray or ndarray, of length n

    Raises
    ------
    ValueError
        If `dtype` cannot hold a scalar: see `fits`.

    Examples
    --------
    >>> to_column(np.array([1, None], dtype=object), np.array([True, False]))
    <IntegerArray>
    [1, <NA>]
    Length: 2, dtype: Int64
    """
    if dtype is not None and nullable(pd.api.types.pandas_dtype(dtype)) is not None:
        valid = valid & np.array([not is_missing(value) for value in values], dtype=bool)
    column = _to_series(list(values[valid]), dtype if dtype is not None or valid.any() else "float64")
    if valid.all():
        return column.array
    nullable_dtype = nullable(column.dtype)
    if nullable_dtype is not None:
        column = column.astype(nullable_dtype)
    column.index = pd.Index(np.flatnonzero(valid))
    return column.reindex(range(len(values))).array


def _to_series(values: list[Any], dtype: Any) -> pd.Series[Any]:
    try:
        column: pd.Series[Any] = pd.Series(values, dtype=dtype)
    except _CONVERSION_ERRORS as exc:
        if dtype is None and isinstance(exc, UnicodeEncodeError):  # a text that is not UTF-8, such as a file name
            return pd.Series(values, dtype=object)
        if len(values) > 1:  # pandas infers one format of times, and more, from the first value
            column = pd.Series([_to_series([value], dtype).iloc[0] for value in values], dtype=dtype)
        else:
            text = f"dtype={str(dtype)!r} cannot hold the return value of func: {truncate(str(exc))}"
            raise ValueError(text) from exc
    return column


def nullable(dtype: Any) -> Any:
    """Return the dtype that holds the same numbers and missing values; None if `dtype` itself does.

    Examples
    --------
    >>> nullable(np.dtype("int16")), nullable(np.dtype("float32"))
    ('Int16', None)
    """
    kind = getattr(dtype, "kind", "O") if isinstance(dtype, np.dtype) else "O"
    if kind == "b":
        return "boolean"
    if kind in "iu":
        return str(dtype).replace("uint", "UInt").replace("int", "Int")
    return None


def to_frame(
    values: ObjectArray, valid: Mask, dtype: Any, index: pd.Index[Any], prefix: str = ""
) -> pd.DataFrame | None:
    """Return dicts or arrays of shape (k,) as a frame, None if the values are scalars.

    Parameters are those of `to_column`; `dtype` may be a dict of dtype by column, `prefix` begins the names of an
    array's columns. A missing scalar is a row of missing values.
    """
    first = next((value for value in values[valid] if describe_form(value) is not None), None)
    names: dict[Hashable, Any] = {name: name for name in dtype} if isinstance(dtype, dict) else {}
    if isinstance(first, dict):
        names |= {name: name for result in values[valid] for name in result or ()}
    elif isinstance(first, np.ndarray):
        names |= {name: k for k, name in enumerate(element_names(len(first), prefix, dtype))}
    elif not isinstance(dtype, dict):
        return None
    dtypes = dtype if isinstance(dtype, dict) else dict.fromkeys(names, dtype)
    arrays = {name: to_column(*_extract_column(values, valid, key), dtypes.get(name)) for name, key in names.items()}
    # With their dtypes: pandas would infer others, and str for texts that are not UTF-8.
    columns = {name: pd.Series(array, index=index, dtype=array.dtype, copy=False) for name, array in arrays.items()}
    return pd.DataFrame(columns, index=index, columns=list(names))


def element_names(n: int, prefix: str, dtype: Any = None) -> list[Hashable]:
    """Return the column names of the elements of a vector: a prefix and their number, unless `dtype` has the number.

    Examples
    --------
    >>> element_names(2, "emb_"), element_names(2, "", {0: "int64"})
    (['emb_0', 'emb_1'], [0, '1'])
    """
    declared = dtype if isinstance(dtype, dict) else {}
    return [k if k in declared else f"{prefix}{k}" for k in range(n)]


def _extract_column(values: ObjectArray, valid: Mask, name: Any) -> tuple[ObjectArray, Mask]:
    """Return the values of one column and the mask of the rows that have one: a dict may lack a name."""
    column, has_value = np.full(len(values), None, dtype=object), valid.copy()
    for i in np.flatnonzero(valid):
        result = values[i]
        names = result if isinstance(result, dict) else range(len(result)) if isinstance(result, np.ndarray) else ()
        if name in names:
            column[i] = result[name]
        else:
            has_value[i] = False
    return column, has_value


def describe_form(result: Any) -> str | None:
    """Return the form of a result: a scalar, a dict, or an array with its shape; None of a missing value.

    Examples
    --------
    >>> describe_form({"a": 1}), describe_form(np.zeros(3)), describe_form(None)
    ('a dict', 'an array of shape (3,)', None)
    """
    if isinstance(result, dict):
        return "a dict"
    if isinstance(result, np.ndarray):
        return (
            f"an image of {result.dtype} and shape {result.shape}"
            if result.ndim == 3
            else f"an array of shape {result.shape}"
        )
    return None if is_missing(result) else "a scalar"


def is_missing(value: Any) -> bool:
    """Return whether a scalar is None, NA, NaN or NaT."""
    missing = pd.isna(value)
    return isinstance(missing, bool | np.bool_) and bool(missing)


def fits(value: Any, dtype: Any) -> bool:
    """Return whether a column of a dtype can hold a scalar; a missing one fits all.

    Examples
    --------
    >>> fits(300, "uint8"), fits("x", "float64"), fits(None, "int64"), fits(2.0, "Int64")
    (False, False, True, True)
    """
    dtype = pd.api.types.pandas_dtype(dtype)
    dtype = pd.api.types.pandas_dtype(nullable(dtype) or dtype)  # so that a missing row changes nothing
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and type(value) in (float, int, np.float64, np.float32):
        return True  # nearly always, and a column for each value takes as long as a small image
    if is_missing(value):
        return True
    try:
        _to_series([value], dtype)
    except ValueError:
        return False
    return True
