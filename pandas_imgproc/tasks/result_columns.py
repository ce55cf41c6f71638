"""Conversion of a user function's results to pandas columns; integers stay integers where rows are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Hashable

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
        If `dtype` cannot hold the scalars.

    Examples
    --------
    >>> to_column(np.array([1, None], dtype=object), np.array([True, False]))
    <IntegerArray>
    [1, <NA>]
    Length: 2, dtype: Int64
    """
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
    except (ValueError, TypeError, OverflowError) as exc:
        raise ValueError(f"dtype={str(dtype)!r} cannot hold the return value of func: {exc}") from exc
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


def to_frame(values: ObjectArray, valid: Mask, dtype: Any, index: pd.Index[Any]) -> pd.DataFrame | None:
    """Return dicts or arrays of shape (k,) as a frame, None if the values are scalars.

    Parameters are those of `to_column`; `dtype` may be a dict of dtype by column.

    Raises
    ------
    ValueError
        If the results differ in type or shape; the message names two rows.
    """
    first = _check_homogeneous(values, valid)
    names: dict[Hashable, None] = dict.fromkeys(dtype) if isinstance(dtype, dict) else {}
    if isinstance(first, dict):
        names |= dict.fromkeys(name for result in values[valid] for name in result)
    elif isinstance(first, np.ndarray):
        names |= dict.fromkeys(range(len(first)))
    elif not isinstance(dtype, dict):
        return None
    dtypes = dtype if isinstance(dtype, dict) else dict.fromkeys(names, dtype)
    columns = {name: to_column(*_extract_column(values, valid, name), dtypes.get(name)) for name in names}
    return pd.DataFrame(columns, index=index, columns=list(names))


def _extract_column(values: ObjectArray, valid: Mask, name: Any) -> tuple[ObjectArray, Mask]:
    """Return the values of one column and the mask of the rows that have one: a dict may lack a name."""
    column, has_value = np.full(len(values), None, dtype=object), valid.copy()
    for i in np.flatnonzero(valid):
        result = values[i]
        if name in (result if isinstance(result, dict) else range(len(result))):
            column[i] = result[name]
        else:
            has_value[i] = False
    return column, has_value


def _check_homogeneous(values: ObjectArray, valid: Mask) -> Any:
    """Return the first result; raise a ValueError if another one differs in type or shape."""
    rows = np.flatnonzero(valid)
    if not len(rows):
        return None
    form = _describe_form(values[rows[0]])
    for i in rows[1:]:
        other = _describe_form(values[i])
        if other != form:
            raise ValueError(
                f"func must return results of one type and shape: row {rows[0]} returned {form}, row {i} {other}"
            )
    return values[rows[0]]


def _describe_form(result: Any) -> str:
    if isinstance(result, dict):
        return "a dict"
    return f"an array of shape {result.shape}" if isinstance(result, np.ndarray) else "a scalar"
