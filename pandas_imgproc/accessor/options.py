"""Shared keyword arguments of the methods: checks, types for ``Unpack``, and groups for `delegates`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, get_args

import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_bool, check_choice, check_int
from pandas_imgproc.accessor.regions import BoxFormat, BoxUnit, Outside, RegionOptions, is_frame_number, region_options
from pandas_imgproc.array import ImageDtype, pixel_format
from pandas_imgproc.codec.option_values import ColorProfile, Engine  # noqa: TC001  of signatures
from pandas_imgproc.errors import did_you_mean
from pandas_imgproc.failures import Errors
from pandas_imgproc.sinks import ResultStore, Retry, check_retry
from pandas_imgproc.sinks.out import parse_out
from pandas_imgproc.source import Source, make_source

if TYPE_CHECKING:
    import os


class SourceKwargs(TypedDict, total=False):
    """Keyword arguments that locate the files."""

    root: str | os.PathLike[str] | None
    suffix: str | None
    storage_options: Mapping[str, Any] | None
    schemes: Sequence[str]
    redirect_hosts: Sequence[str] | None


class ReadKwargs(SourceKwargs, total=False):
    """Keyword arguments of `read_options`."""

    errors: Errors
    npartitions: int | None
    progress: bool | None


class WriteKwargs(TypedDict, total=False):
    """Keyword arguments of `write_options`."""

    overwrite: bool
    retry: Retry


class StoreKwargs(WriteKwargs, total=False):
    """Keyword arguments of `open_store`."""

    out: str | os.PathLike[str] | None


class InspectKwargs(ReadKwargs, total=False):
    """Keyword arguments of a method that inspects images."""

    max_pixels: int | None
    limits: Mapping[str, Any] | None
    formats: str | Iterable[str]
    readers: Mapping[Any, Callable[..., Any]] | None


class DecodeInspectKwargs(InspectKwargs, total=False):
    """Keyword arguments of a method that inspects pixels."""

    strict: bool
    engine: Engine
    color_profile: ColorProfile


class FrameKwargs(TypedDict, total=False):
    """Keyword argument of the frame: that of all rows, or of each."""

    frame: Any


class RegionKwargs(FrameKwargs, total=False):
    """Keyword arguments of `region_options`."""

    box: Any
    box_format: BoxFormat
    box_unit: BoxUnit
    margin: float
    outside: Outside


class ImageKwargs(codec.DecodeKwargs, RegionKwargs, ReadKwargs, total=False):
    """Keyword arguments that change pixels, and those of `read_options`."""


class RegionInspectKwargs(DecodeInspectKwargs, RegionKwargs, total=False):
    """Keyword arguments of a method that inspects pixels of regions."""


class FeatureKwargs(RegionInspectKwargs, StoreKwargs, total=False):
    """Keyword arguments of a method that measures images or regions of them."""


class LoadKwargs(ImageKwargs, StoreKwargs, total=False):
    """Keyword arguments of a method that returns a column."""


class SaveKwargs(ImageKwargs, WriteKwargs, total=False):
    """Keyword arguments of a method that writes image files."""


class ThumbnailKwargs(DecodeInspectKwargs, RegionKwargs, WriteKwargs, total=False):
    """Keyword arguments of a method that writes thumbnails."""

    mode: str
    resample: str | int
    background: str | int | tuple[int, ...] | None


class FormatKwargs(TypedDict, total=False):
    """Keyword arguments of the format of pixels for a model, beside their dtype."""

    scale: float | None
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    channels: str


class BoxKwargs(TypedDict, total=False):
    """Keyword arguments of boxes that are drawn."""

    box: Any
    box_format: str
    box_unit: str


class ShowKwargs(BoxKwargs, FrameKwargs, SourceKwargs, total=False):
    """Keyword arguments of `show`."""

    color_profile: ColorProfile
    readers: Mapping[Any, Callable[..., Any]] | None


class BatchKwargs(codec.DecodeKwargs, RegionKwargs, SourceKwargs, FormatKwargs, total=False):
    """Keyword arguments of a method that feeds a loop."""


class DatasetKwargs(BatchKwargs, total=False):
    """Keyword arguments of a method that may read all images once before it returns."""

    npartitions: int | None
    progress: bool | None


@dataclass(frozen=True)
class ReadOptions:
    """Read and run options of a call: checked `ReadKwargs`, with the source that finds the files, and the regions."""

    source: Source
    errors: Errors
    npartitions: int | None
    progress: bool | None
    regions: RegionOptions | None = None


@dataclass(frozen=True)
class WriteOptions:
    """Write options of a call: checked `WriteKwargs`, with the folder or the template of the files."""

    to: object
    overwrite: bool
    retry: Retry


def read_options(
    *,
    errors: Errors = "warn",
    root: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    schemes: Sequence[str] = (),
    redirect_hosts: Sequence[str] | None = None,
    npartitions: int | None = None,
    progress: bool | None = None,
) -> ReadOptions:
    """Check the arguments; a ValueError or TypeError names the argument, the value and the legal ones."""
    check_choice("errors", errors, get_args(Errors))
    source = make_source(
        root=root, suffix=suffix, storage_options=storage_options, schemes=schemes, redirect_hosts=redirect_hosts
    )
    n = None if npartitions is None else check_int("npartitions", npartitions)
    return ReadOptions(source, errors, n, progress)


def write_options(to: object, *, overwrite: bool = False, retry: Retry = "transient") -> WriteOptions:
    """Check the arguments; a ValueError or TypeError names the argument, the value and the legal ones."""
    return WriteOptions(to, check_bool("overwrite", overwrite), check_retry(retry))


def open_store(
    source: Source, *, out: str | os.PathLike[str] | None = None, overwrite: bool = False, retry: Retry = "transient"
) -> ResultStore | None:
    """Return the store at `out`, with the storage options of the source; None without `out`."""
    return parse_out(out, overwrite=overwrite, retry=retry, options=source.options)


# Arguments of `delegates`. Signatures show them in the order in which a method names them.
SOURCE = (read_options, SourceKwargs.__annotations__)
RUN = (read_options, ("errors", "npartitions", "progress"))
READ = (read_options, ReadKwargs.__annotations__)
WRITE = (write_options, WriteKwargs.__annotations__)
STORE = (open_store, ("out", "overwrite", "retry"))
DECODE = (codec.decode_options, codec.DecodeKwargs.__annotations__)
FRAME = (region_options, ("frame",))
BOX = (region_options, ("box", "box_format", "box_unit"))
REGION = (region_options, ("frame", "box", "box_format", "box_unit", "margin", "outside"))
LIMITS = (codec.decode_options, ("max_pixels", "limits", "formats", "readers"))
READERS = (codec.decode_options, ("readers",))
COLORS = (codec.decode_options, ("color_profile",))
DECODING = (codec.decode_options, ("strict", "engine", "color_profile"))
FORMAT = (pixel_format, FormatKwargs.__annotations__)


def decode_and_read_options(
    size: Any, options: Mapping[str, Any], **decode: Any
) -> tuple[codec.DecodeOptions, ReadOptions]:
    """Return the decode and the read options among the keyword arguments of a method, checked."""
    decode |= select_kwargs(options, codec.DecodeKwargs)
    frame = options.get("frame", 0)
    decode_options = codec.decode_options(size, **decode, frame=frame if is_frame_number(frame) else 0)
    return decode_options, region_read_options(options)


def region_read_options(options: Mapping[str, Any], **read: Any) -> ReadOptions:
    """Return the read options among the keyword arguments of a method, with its regions, checked."""
    read |= select_kwargs(options, ReadKwargs)
    return dataclasses.replace(read_options(**read), regions=region_options(**select_kwargs(options, RegionKwargs)))


def load_options(size: Any, options: Mapping[str, Any]) -> tuple[codec.DecodeOptions, ReadOptions, ResultStore | None]:
    """Return the decode and the read options, and the store, among the keyword arguments of a method, checked."""
    decode_options, read_options = decode_and_read_options(size, options)
    return decode_options, read_options, open_store(read_options.source, **select_kwargs(options, StoreKwargs))


def select_kwargs(options: Mapping[str, Any], kwargs: Any) -> dict[str, Any]:
    """Return the keyword arguments that a TypedDict declares."""
    return {name: value for name, value in options.items() if name in kwargs.__annotations__}


def get_column(frame: pd.DataFrame, name: Any) -> pd.Series[Any]:
    """Return a column of a frame; a mistyped name lists the near ones."""
    if not isinstance(name, Hashable):
        raise TypeError(f"column={name!r:.100} is not the name of a column; give one name, such as 'image_path'")
    if name not in frame.columns:
        raise KeyError(f"the frame has no column {name!r}; {did_you_mean(name, frame.columns)}")
    column: pd.Series[Any] = frame[name]
    if column.ndim == 2 and frame.columns.nlevels > 1:
        label = next(label for label in frame.columns if label[0] == (name[0] if isinstance(name, tuple) else name))
        raise ValueError(f"{name!r} is {column.shape[1]} columns of several levels; give one of them, as {label!r}")
    if column.ndim == 2:
        raise ValueError(f"the frame has {column.shape[1]} columns named {name!r}; rename them, or use .iloc[:, k]")
    return column


def check_names(names: list[Any]) -> list[Any]:
    """Return the names of several image columns; raise a ValueError if there are none."""
    if not names:
        raise ValueError("column=[] names no column; give one or several, such as ['front', 'back']")
    return names


def check_column(column: pd.Series[Any], source: Source) -> None:
    """Raise a TypeError if a column cannot hold images or names of files."""
    dtype = column.dtype
    if isinstance(dtype, ImageDtype) or not pd.api.types.is_numeric_dtype(dtype) or column.isna().all():
        return
    if pd.api.types.is_any_real_numeric_dtype(dtype) and source.suffix is not None:
        return
    advice = "if they are names of files, pass suffix='.jpg' (and root=)"
    raise TypeError(f"the column {column.name!r} holds {dtype}, not paths; {advice}")


def check_callable(name: str, value: Any) -> Callable[..., Any]:
    """Return a callable; raise TypeError for anything else."""
    if not callable(value):
        raise TypeError(f"{name}={shorten(value)} cannot be called; give a function of one image's pixels")
    function: Callable[..., Any] = value
    return function


def check_prefix(prefix: Any) -> str | None:
    """Return a prefix of column names, or None; raise TypeError for anything else."""
    if not isinstance(prefix, str | None):
        raise TypeError(f"prefix={shorten(prefix)} is no text, such as 'emb_'")
    return prefix


def check_dtype(dtype: Any) -> Any:
    """Return a dtype of pandas, a dict of them, or None; raise TypeError for anything else."""
    if isinstance(dtype, Mapping):
        return {name: check_dtype(value) for name, value in dtype.items()}
    try:
        return None if dtype is None else pd.api.types.pandas_dtype(dtype)
    except TypeError as exc:
        raise TypeError(f"dtype={dtype!r} is no dtype of pandas: 'float64', 'Int64', or a dict of them") from exc
