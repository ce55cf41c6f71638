"""What stands in a column, as plain Python values."""

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
    """What stands in an image column where there was no image: the reason goes on."""

    path: str
    kind: FailureKind
    message: str


def column_values(column: pd.Series[Any]) -> list[Any]:
    """Return what stands in a column as plain Python values, None where missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> column_values(pd.Series([Path("a.jpg"), None, float("nan"), 7], dtype=object))
    ['a.jpg', None, None, 7]
    """
    values = column.to_numpy(dtype=object, copy=True)
    missing = column.isna().to_numpy()
    if isinstance(column.dtype, pd.StringDtype):  # nothing but text: looking at each would cost more than the rest
        values[missing] = None
        return values.tolist()
    return [None if na else _plain(value) for value, na in zip(values.tolist(), missing.tolist(), strict=True)]


def paths_to_series(paths: Sequence[str] | np.ndarray[Any, Any], index: Any = None) -> pd.Series[Any]:
    """Return paths as a column of str, or of objects where a name is none that Arrow can hold: it is of bytes."""
    try:
        return pd.Series(paths, index=index, dtype="str")
    except UnicodeEncodeError:
        return pd.Series(paths, index=index, dtype=object)


def is_encoded(cell: Any) -> bool:
    """Return whether a cell holds an image, rather than the name of one."""
    if isinstance(cell, Mapping):
        return cell.get("bytes") is not None
    return isinstance(cell, bytes | bytearray | memoryview) or (
        hasattr(cell, "__array_interface__") and not isinstance(cell, np.generic)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # nearly always
        return value
    if isinstance(value, Mapping) and value.get("bytes") is None and value.get("path") is None:
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value
