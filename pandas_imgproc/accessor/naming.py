"""A column of a frame, by the name that somebody typed."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

from pandas_imgproc.errors import did_you_mean


def column_of(frame: pd.DataFrame, column: Any) -> pd.Series[Any]:
    """Return a column of a frame; a mistyped one lists the near names."""
    if not isinstance(column, Hashable):
        raise TypeError(f"column={column!r:.100} is not the name of a column; give one name, such as 'image_path'")
    if column not in frame.columns:
        raise KeyError(f"the frame has no column {column!r}; {did_you_mean(column, frame.columns)}")
    found: pd.Series[Any] = frame[column]
    if found.ndim == 2:
        raise ValueError(f"the frame has {found.shape[1]} columns named {column!r}; rename them, or use .iloc[:, k]")
    return found
