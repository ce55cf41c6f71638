"""The arguments that methods share, checked before anything starts."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._delegates import delegates
from pandas_imgproc.array import ImageDtype
from pandas_imgproc.failures import Errors, check_errors
from pandas_imgproc.sinks import Retry, check_retry
from pandas_imgproc.source import Source, make_source

if TYPE_CHECKING:
    import os


@dataclass(frozen=True)
class ReadOptions:
    """ReadOptions a call reads and runs.

    Attributes
    ----------
    source : Source
        ReadOptions what stands in the column becomes files.
    errors : {"warn", "coerce", "raise"}
        What becomes of images that cannot be read.
    npartitions : int, optional
        ReadOptions many partitions.
    progress : bool, optional
        Whether a bar is shown.
    """

    source: Source
    errors: Errors
    npartitions: int | None
    progress: bool | None


@dataclass(frozen=True)
class WriteOptions:
    """Where a call writes files.

    Attributes
    ----------
    to : object
        A folder or a template.
    overwrite : bool
        Whether files take the place of whatever stands there.
    retry : {"transient", "all"}
        Which failed rows of an earlier run are tried again.
    """

    to: object
    overwrite: bool
    retry: Retry


def write_options(to: object, *, overwrite: object, retry: object) -> WriteOptions:
    """Check the arguments that say where files are written.

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.
    """
    if not isinstance(overwrite, bool):
        raise TypeError(f"overwrite={overwrite!r} is not True or False")
    return WriteOptions(to, overwrite, check_retry(retry))


class SourceKwargs(TypedDict, total=False):
    """The keyword arguments of `read_options` that say where files are."""

    root: str | os.PathLike[str] | None
    suffix: str | None
    storage_options: Mapping[str, Any] | None
    schemes: Sequence[str]


class ReadKwargs(SourceKwargs, total=False):
    """All keyword arguments of `read_options`."""

    errors: Errors
    npartitions: int | None
    progress: bool | None


def read_options(
    *,
    errors: Errors = "warn",
    root: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    schemes: Sequence[str] = (),
    npartitions: int | None = None,
    progress: bool | None = None,
) -> ReadOptions:
    """Check the arguments and return what they mean.

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.
    """
    errors = check_errors(errors)
    source = make_source(root=root, suffix=suffix, storage_options=storage_options, schemes=schemes)
    return ReadOptions(
        source, errors, None if npartitions is None else check_count("npartitions", npartitions), progress
    )


class ImageKwargs(codec.DecodeKwargs, ReadKwargs, total=False):
    """The keyword arguments of `read_options`, and those of `codec.recipe` that change pixels."""


def decode_and_read_options(size: Any, options: ImageKwargs) -> tuple[codec.DecodeOptions, ReadOptions]:
    """Check the arguments of a method that decodes images, and return what they mean."""
    of_how: Any = {name: value for name, value in options.items() if name in ReadKwargs.__annotations__}
    of_recipe: Any = {name: value for name, value in options.items() if name not in of_how}
    return codec.decode_options(size, **of_recipe), read_options(**of_how)


with_read_kwargs = delegates((read_options, ReadKwargs.__annotations__))
"""For methods that hand all arguments of `read_options` on to it."""

with_image_kwargs = delegates(
    (codec.decode_options, codec.DecodeKwargs.__annotations__), (read_options, ReadKwargs.__annotations__)
)
"""For methods that hand all but the size on to `decode_and_read_options`."""

with_source_kwargs = delegates((read_options, SourceKwargs.__annotations__))
"""For methods that hand on those that say where files are."""


def check_column(column: pd.Series[Any], source: Source) -> None:
    """Raise a TypeError if a column cannot hold images or names of files."""
    dtype = column.dtype
    if isinstance(dtype, ImageDtype) or not pd.api.types.is_numeric_dtype(dtype) or column.isna().all():
        return
    if pd.api.types.is_any_real_numeric_dtype(dtype) and source.suffix is not None:
        return
    advice = "if they are names of files, say which with suffix='.jpg' (and root=)"
    raise TypeError(f"the column {column.name!r} holds {dtype}, not paths; {advice}")


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return a whole number of at least so much, or raise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r:.100} is not a whole number")
    if value < least:
        raise ValueError(f"{name}={value!r} is less than {least}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """Return True or False, or raise."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r:.100} is neither True nor False")
    return value


def check_callable(name: str, value: Any) -> Callable[..., Any]:
    """Return a function, or raise."""
    if not callable(value):
        raise TypeError(f"{name}={value!r:.100} cannot be called; give a function of one image's pixels")
    function: Callable[..., Any] = value
    return function


def check_dtype(dtype: Any) -> Any:
    """Return a dtype of pandas, a dict of them, or None; raise if it is none."""
    if isinstance(dtype, Mapping):
        return {name: check_dtype(one) for name, one in dtype.items()}
    try:
        return None if dtype is None else pd.api.types.pandas_dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype={dtype!r} is no dtype of pandas: 'float64', 'Int64', or a dict of them") from None
