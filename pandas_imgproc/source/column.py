"""What stands in a column, as plain Python values."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from pandas_imgproc.errors import FailureKind


@dataclass(frozen=True)
class Unreadable:
    """What stands in an image column where there was no picture: the reason goes on."""

    path: str
    kind: FailureKind
    message: str


def cells(column: pd.Series[Any]) -> list[Any]:
    """Return what stands in a column as plain Python values, None where missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> cells(pd.Series([Path("a.jpg"), None, float("nan"), 7], dtype=object))
    ['a.jpg', None, None, 7]
    """
    values = column.to_numpy(dtype=object)
    missing = column.isna().to_numpy()
    return [None if na else _plain(value) for value, na in zip(values, missing, strict=True)]


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value
