"""The arguments that methods share, checked before anything starts."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pandas_imgproc.array import ImageDtype
from pandas_imgproc.failures import Errors, check_errors
from pandas_imgproc.source import Options, Source


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
    source = make_source(root, suffix, storage_options, schemes)
    return How(source, errors, check_count("npartitions", npartitions), progress)


def make_source(root: object, suffix: object, storage_options: object, schemes: object) -> Source:
    """Check how files are found, and return it as a value."""
    options, more = Options(_check_options(storage_options)), _check_schemes(schemes)
    source = Source(_check_root(root), _check_suffix(suffix), _working_directory(), options, Source.schemes | more)
    source.top  # noqa: B018  it raises where the root is none
    return source


def check_column(column: pd.Series[Any], source: Source) -> None:
    """Raise a TypeError if a column cannot hold pictures or names of files."""
    dtype = column.dtype
    if isinstance(dtype, ImageDtype) or not pd.api.types.is_numeric_dtype(dtype) or column.isna().all():
        return
    if pd.api.types.is_any_real_numeric_dtype(dtype) and source.suffix is not None:
        return
    advice = "if they are names of files, say which with suffix='.jpg' (and root=)"
    raise TypeError(f"the column {column.name!r} holds {dtype}, not paths; {advice}")


def _check_root(root: object) -> str | None:
    if root is None:
        return None
    if not isinstance(root, str | os.PathLike):
        raise TypeError(f"root={root!r} is not a folder; give a path such as 'train'")
    return os.fspath(root)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed: relative paths are missing, absolute ones are not
        return ""


def _check_suffix(suffix: object) -> str | None:
    if suffix is None or isinstance(suffix, str):
        return suffix
    raise TypeError(f"suffix={suffix!r} is not a text such as '.jpg'")


def _check_options(storage_options: object) -> Mapping[str, Any]:
    if storage_options is None:
        return {}
    if not isinstance(storage_options, Mapping) or not all(isinstance(name, str) for name in storage_options):
        kind = type(storage_options).__name__  # never the value: it may be a secret
        raise TypeError(f"storage_options= is of type {kind}; give a dict of names and values for the file system")
    return storage_options


def _check_schemes(schemes: object) -> frozenset[str]:
    if isinstance(schemes, str) or not isinstance(schemes, Iterable):
        raise TypeError(f"schemes={schemes!r} is not a list of schemes such as ['sftp']")
    found = list(schemes)
    if not all(isinstance(scheme, str) and scheme and ":" not in scheme for scheme in found):
        raise ValueError(f"schemes={schemes!r} is not a list of schemes such as ['sftp']; each without ://")
    return frozenset(scheme.lower() for scheme in found)


def check_count(name: str, value: object) -> int | None:
    """Return a whole number from 1 up, or None; raise if it is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} is not a whole number")
    if value < 1:
        raise ValueError(f"{name}={value!r} is less than 1")
    return int(value)
