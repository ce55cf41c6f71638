"""Answers of a user's function, row by row, become columns of pandas; integers stay integers where rows are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Hashable

ObjectArray = np.ndarray[Any, np.dtype[Any]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def column_of(values: ObjectArray, there: Mask, dtype: Any = None) -> Any:
    """Return scalars as one column, missing where there is no answer.

    Parameters
    ----------
    values : ndarray of object, shape (n,)
        The scalars.
    there : ndarray of bool, shape (n,)
        Which rows have one.
    dtype : dtype, optional
        Of the column; by default what pandas infers. One that cannot hold a missing value is replaced by the one
        of pandas that can, where a row is missing.

    Returns
    -------
    ExtensionArray or ndarray, of length n

    Raises
    ------
    ValueError
        If `dtype` cannot hold the scalars.

    Examples
    --------
    >>> column_of(np.array([1, None], dtype=object), np.array([True, False]))
    <IntegerArray>
    [1, <NA>]
    Length: 2, dtype: Int64
    """
    whole = _series(list(values[there]), dtype if dtype is not None or there.any() else "float64")
    if there.all():
        return whole.array
    holds_missing = nullable(whole.dtype)
    if holds_missing is not None:
        whole = whole.astype(holds_missing)
    whole.index = pd.Index(np.flatnonzero(there))
    return whole.reindex(range(len(values))).array


def _series(values: list[Any], dtype: Any) -> pd.Series[Any]:
    try:
        column: pd.Series[Any] = pd.Series(values, dtype=dtype)
    except (ValueError, TypeError, OverflowError) as exc:
        raise ValueError(f"dtype={str(dtype)!r} cannot hold what func gave: {exc}") from None
    return column


def nullable(dtype: Any) -> Any:
    """Return the dtype that holds the same numbers and missing values; None if this one does.

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


def frame_of(values: ObjectArray, there: Mask, dtype: Any, index: pd.Index[Any]) -> pd.DataFrame | None:
    """Return dicts or vectors as a frame, None if the values are scalars.

    Parameters
    ----------
    values : ndarray of object, shape (n,)
        Dicts, or arrays of shape (k,).
    there : ndarray of bool, shape (n,)
        Which rows have an answer.
    dtype : dtype, or dict of dtype by column, optional
        Of the columns.
    index : Index
        Of the frame.

    Raises
    ------
    ValueError
        If the answers are not all of one form; it names two rows.
    """
    first = _same_form(values, there)
    names: dict[Hashable, None] = dict.fromkeys(dtype) if isinstance(dtype, dict) else {}
    if isinstance(first, dict):
        names |= dict.fromkeys(name for row in values[there] for name in row)
    elif isinstance(first, np.ndarray):
        names |= dict.fromkeys(range(len(first)))
    elif not isinstance(dtype, dict):
        return None
    found = {name: _picked(values, there, name) for name in names}
    dtypes = dtype if isinstance(dtype, dict) else dict.fromkeys(found, dtype)
    made = {name: column_of(column, has, dtypes.get(name)) for name, (column, has) in found.items()}
    return pd.DataFrame(made, index=index, columns=list(found))


def _picked(values: ObjectArray, there: Mask, name: Any) -> tuple[ObjectArray, Mask]:
    """Return what one column of a frame is, and which rows have it: a dict may lack a name."""
    column, has = np.full(len(values), None, dtype=object), there.copy()
    for row in np.flatnonzero(there):
        answer = values[row]
        if name not in (answer if isinstance(answer, dict) else range(len(answer))):
            has[row] = False
        else:
            column[row] = answer[name]
    return column, has


def _same_form(values: ObjectArray, there: Mask) -> Any:
    """Return the first answer, if all are of its form."""
    rows = np.flatnonzero(there)
    if not len(rows):
        return None
    known = _form(values[rows[0]])
    for row in rows[1:]:
        if _form(values[row]) != known:
            other = f"row {rows[0]} gave {known}, row {row} {_form(values[row])}"
            raise ValueError(f"func must return one form for all images: {other}")
    return values[rows[0]]


def _form(answer: Any) -> str:
    if isinstance(answer, dict):
        return "a dict"
    if isinstance(answer, np.ndarray):
        return f"an array of shape {answer.shape}"
    return "a scalar"
