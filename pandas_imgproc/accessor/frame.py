"""``.img`` on pandas: check the arguments, make the task, call a driver, wrap the answer.

`arguments`  what methods share, checked
`column`     the one way that every method takes
`naming`     a column of a frame by its name
`sheet`      what `show` gives
`tracebacks` errors end at the line that called
`loading`, `saving`, `transforming`, `measuring`, `showing`
             the methods, by what they are for
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar

import pandas as pd

from pandas_imgproc import failures
from pandas_imgproc.accessor import _tracebacks
from pandas_imgproc.accessor.features import _FeatureMethods
from pandas_imgproc.accessor.load import _LoadMethods
from pandas_imgproc.accessor.naming import column_of
from pandas_imgproc.accessor.save import _SaveMethods
from pandas_imgproc.accessor.show import _DisplayMethods
from pandas_imgproc.accessor.transform import _TransformMethods

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FrameImageAccessor", "SeriesImageAccessor", "register"]

P = ParamSpec("P")
R = TypeVar("R")

_PARAMETERS_HEADER = "Parameters\n----------\n"
_COLUMN_DOC = """column : label
    The column of images: paths, URLs, encoded bytes, ``{bytes, path}`` structs or images.
"""


@_tracebacks.trim_tracebacks
class SeriesImageAccessor(_LoadMethods, _SaveMethods, _TransformMethods, _FeatureMethods, _DisplayMethods):
    """``series.img``: a column of images, as paths, encoded bytes, ``{bytes, path}`` structs or images.

    Parameters
    ----------
    column : Series
        The column.
    frame : DataFrame, optional
        The frame that it is a column of, if the method was called on that.
    """


def _frame_method(
    method: Callable[Concatenate[SeriesImageAccessor, P], R],
) -> Callable[Concatenate[FrameImageAccessor, Any, P], R]:
    """Return a method of a column as one of a frame, which is told the column first."""

    @functools.wraps(method)
    def on_frame(self: FrameImageAccessor, column: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        of_column = self._series_accessor(column_of(self._df, column), self._df)
        answer: R = getattr(of_column, method.__name__)(*args, **kwargs)
        return answer

    signature = inspect.signature(method)
    own, *rest = signature.parameters.values()
    column = inspect.Parameter("column", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    on_frame.__signature__ = signature.replace(parameters=[own, column, *rest])  # type: ignore[attr-defined]
    on_frame.__doc__ = inspect.cleandoc(method.__doc__ or "").replace(
        _PARAMETERS_HEADER, _PARAMETERS_HEADER + _COLUMN_DOC, 1
    )
    return on_frame  # type: ignore[return-value]  # the column may be named, which Concatenate cannot say


@_tracebacks.trim_tracebacks
class FrameImageAccessor:
    """``df.img``: the methods of ``series.img``, each told the column of images first.

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
    save_thumbnails = _frame_method(SeriesImageAccessor.save_thumbnails)
    verify = _frame_method(SeriesImageAccessor.verify)
    map = _frame_method(SeriesImageAccessor.map)
    augment = _frame_method(SeriesImageAccessor.augment)
    metadata = _frame_method(SeriesImageAccessor.metadata)
    features = _frame_method(SeriesImageAccessor.features)
    hash = _frame_method(SeriesImageAccessor.hash)
    duplicate_groups = _frame_method(SeriesImageAccessor.duplicate_groups)
    _issues_of_column = _frame_method(SeriesImageAccessor.issues)

    @functools.wraps(SeriesImageAccessor.issues)
    def issues(self, column: Any = None, include: Any = None, **how: Any) -> pd.DataFrame:  # noqa: D102  as wrapped
        if column is None:
            return self._series_accessor._issues_of_features(self._df, include, **how)
        return self._issues_of_column(column, include, **how)

    issues.__signature__ = inspect.signature(_issues_of_column)  # type: ignore[attr-defined]
    issues.__doc__ = _issues_of_column.__doc__

    @property
    def failures(self) -> pd.DataFrame:
        """Why rows of an answer that is a frame have no value (see `Series.img.failures`)."""
        return failures.failures_frame(self._df)


def register() -> None:
    """Register ``.img`` on the frames and columns of pandas."""
    pd.api.extensions.register_dataframe_accessor("img")(FrameImageAccessor)
    pd.api.extensions.register_series_accessor("img")(SeriesImageAccessor)
