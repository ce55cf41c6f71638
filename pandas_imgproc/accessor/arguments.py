"""The arguments that methods share, checked before anything starts."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pandas_imgproc.array import ImageDtype
from pandas_imgproc.failures import Errors, check_errors
from pandas_imgproc.source import Source, make_source


@dataclass(frozen=True)
class How:
    """How a call reads and runs.

    Attributes
    ----------
    source : Source
        How what stands in the column becomes files.
    errors : {"warn", "coerce", "raise"}
        What becomes of pictures that cannot be read.
    npartitions : int, optional
        How many partitions.
    progress : bool, optional
        Whether a bar is shown.
    """

    source: Source
    errors: Errors
    npartitions: int | None
    progress: bool | None


def how(
    *,
    errors: object,
    root: object,
    suffix: object,
    npartitions: object,
    progress: bool | None,
    storage_options: object = None,
    schemes: object = (),
) -> How:
    """Check the arguments and return what they mean.

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.
    """
    errors = check_errors(errors)
    source = make_source(root=root, suffix=suffix, storage_options=storage_options, schemes=schemes)
    return How(source, errors, check_count("npartitions", npartitions), progress)


def check_column(column: pd.Series[Any], source: Source) -> None:
    """Raise a TypeError if a column cannot hold pictures or names of files."""
    dtype = column.dtype
    if isinstance(dtype, ImageDtype) or not pd.api.types.is_numeric_dtype(dtype) or column.isna().all():
        return
    if pd.api.types.is_any_real_numeric_dtype(dtype) and source.suffix is not None:
        return
    advice = "if they are names of files, say which with suffix='.jpg' (and root=)"
    raise TypeError(f"the column {column.name!r} holds {dtype}, not paths; {advice}")


def check_count(name: str, value: object) -> int | None:
    """Return a whole number from 1 up, or None; raise if it is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} is not a whole number")
    if value < 1:
        raise ValueError(f"{name}={value!r} is less than 1")
    return int(value)
