"""Inputs: values of a column as plain Python values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.errors import FailureKind


@dataclass(frozen=True)
class FailedInput:
    """Input for a missing value of an image column: its failure becomes the failure of the result."""

    path: str
    kind: FailureKind
    message: str


def column_values(column: pd.Series[Any]) -> list[Any]:
    """Return the values of a column as plain Python values, None where missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> column_values(pd.Series([Path("a.jpg"), None, float("nan"), 7], dtype=object))
    ['a.jpg', None, None, 7]
    """
    values = column.to_numpy(dtype=object, copy=True)
    missing = column.isna().to_numpy()
    if isinstance(column.dtype, pd.StringDtype):  # text only: a check of every value would cost more than the rest
        values[missing] = None
        return values.tolist()
    return [None if na else _to_plain(value) for value, na in zip(values.tolist(), missing.tolist(), strict=True)]


def paths_to_series(paths: Sequence[str] | np.ndarray[Any, Any], index: Any = None) -> pd.Series[Any]:
    """Return paths as a column of str, or of objects if Arrow cannot store one: a file name of any bytes."""
    try:
        return pd.Series(paths, index=index, dtype="str")
    except UnicodeEncodeError:
        return pd.Series(paths, index=index, dtype=object)


def is_encoded(value: Any) -> bool:
    """Return whether an input holds an image, rather than the name of one."""
    if isinstance(value, Mapping):
        return value.get("bytes") is not None
    return isinstance(value, bytes | bytearray | memoryview) or is_pixel_array(value)


def is_pixel_array(value: Any) -> bool:
    """Return whether an input is an image in memory."""
    return hasattr(value, "__array_interface__") and not isinstance(value, np.generic)


def path_or_bytes(value: Any) -> Any:
    """Return the bytes of a ``{bytes, path}`` mapping, its path if there are none, and any other input as is."""
    if not isinstance(value, str) and isinstance(value, Mapping):  # text first: the second check is slow
        return value.get("path") if value.get("bytes") is None else value["bytes"]
    return value


def _to_plain(value: Any) -> Any:
    if isinstance(value, str):  # nearly always
        return value
    if path_or_bytes(value) is None:
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value
