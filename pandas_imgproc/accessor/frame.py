"""Accessor of frames: ``df.img``, the methods of ``series.img`` with the name of a column as first argument."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar

import pandas as pd

from pandas_imgproc import failures
from pandas_imgproc.accessor._tracebacks import trim_tracebacks
from pandas_imgproc.accessor._unknown_names import UnknownNameHints
from pandas_imgproc.accessor.options import check_names, get_column
from pandas_imgproc.accessor.series import SeriesImageAccessor

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

_PARAMETERS_HEADER = "Parameters\n----------\n"
_COLUMN_DOC = """column : label
    The column of images: paths, URLs, encoded bytes, ``{bytes, path}`` structs or images.
"""


_COLUMNS_DOC = """column : label, or list of labels
    The column of images: paths, URLs, encoded bytes, ``{bytes, path}`` structs or images. With several columns, the
    function is given an array for each.
"""


def _frame_method(
    method: Callable[Concatenate[SeriesImageAccessor, P], R], *, several: bool = False
) -> Callable[Concatenate[FrameImageAccessor, Any, P], R]:
    """Return a method of a series as a method of a frame, with the column as first argument, or several columns."""

    @functools.wraps(method)
    def on_frame(self: FrameImageAccessor, column: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        names = check_names(column) if several and isinstance(column, list) else [column]
        first, *others = (get_column(self._df, name) for name in names)
        accessor = self._series_accessor(first, self._df, tuple(others))
        result: R = getattr(accessor, method.__name__)(*args, **kwargs)
        return result

    on_frame.__qualname__ = method.__name__  # which Python's errors on missing arguments show
    signature = inspect.signature(method)
    accessor, *rest = signature.parameters.values()
    column = inspect.Parameter("column", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    on_frame.__signature__ = signature.replace(parameters=[accessor, column, *rest])  # type: ignore[attr-defined]
    on_frame.__doc__ = inspect.cleandoc(method.__doc__ or "").replace(
        _PARAMETERS_HEADER, _PARAMETERS_HEADER + (_COLUMNS_DOC if several else _COLUMN_DOC), 1
    )
    return on_frame  # type: ignore[return-value]  # the column may be a keyword, which Concatenate cannot express


@trim_tracebacks
class FrameImageAccessor(UnknownNameHints):
    """Accessor ``df.img``: the methods of ``series.img``, with the name of the image column as first argument.

    Parameters
    ----------
    frame : DataFrame
        The frame.
    """

    _series_accessor: ClassVar[type[SeriesImageAccessor]] = SeriesImageAccessor

    def __init__(self, frame: pd.DataFrame) -> None:
        self._df = frame

    load_resized = _frame_method(SeriesImageAccessor.load_resized)
    show = _frame_method(SeriesImageAccessor.show)
    save = _frame_method(SeriesImageAccessor.save)
    save_resized = _frame_method(SeriesImageAccessor.save_resized)
    download = _frame_method(SeriesImageAccessor.download)
    upload = _frame_method(SeriesImageAccessor.upload)
    save_thumbnails = _frame_method(SeriesImageAccessor.save_thumbnails)
    save_shards = _frame_method(SeriesImageAccessor.save_shards)
    verify = _frame_method(SeriesImageAccessor.verify)
    map = _frame_method(SeriesImageAccessor.map)
    map_batches = _frame_method(SeriesImageAccessor.map_batches, several=True)
    augment = _frame_method(SeriesImageAccessor.augment)
    batches = _frame_method(SeriesImageAccessor.batches)
    dataset = _frame_method(SeriesImageAccessor.dataset)
    frames = _frame_method(SeriesImageAccessor.frames)
    tiles = _frame_method(SeriesImageAccessor.tiles)
    metadata = _frame_method(SeriesImageAccessor.metadata)
    features = _frame_method(SeriesImageAccessor.features)
    hash = _frame_method(SeriesImageAccessor.hash)
    duplicate_groups = _frame_method(SeriesImageAccessor.duplicate_groups)
    _column_issues = _frame_method(SeriesImageAccessor.issues)

    def issues(self, column: Any = None, include: Any = None, **options: Any) -> pd.DataFrame:  # noqa: D102  as below
        if column is None and None not in self._df.columns:
            return self._series_accessor._issues_from_features(self._df, include, **options)
        return self._column_issues(column, include, **options)

    # Not as a decorator, whose type for checkers is no method: they would miss `self` in `acc.issues("image_path")`.
    functools.update_wrapper(issues, _column_issues)

    @property
    def failures(self) -> pd.DataFrame:
        """Failures of the call that returned this frame (see `Series.img.failures`)."""
        return failures.failures_frame(self._df)


def register() -> None:
    """Register ``.img`` on the frames and series of pandas."""
    pd.api.extensions.register_dataframe_accessor("img")(FrameImageAccessor)
    pd.api.extensions.register_series_accessor("img")(SeriesImageAccessor)
