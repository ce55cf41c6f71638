"""Arguments `box` and `frame`: names of columns or values, which become the regions of the rows of a job."""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import json
import math
import numbers
import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_choice
from pandas_imgproc.errors import did_you_mean
from pandas_imgproc.failures import find_stack_level
from pandas_imgproc.regions import Regions
from pandas_imgproc.tasks import to_corners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.execution import Job

    Array = np.ndarray[Any, np.dtype[Any]]

BoxFormat = Literal["xywh", "xyxy", "cxcywh"]
BoxUnit = Literal["pixel", "fraction"]
Outside = Literal["clip", "pad"]
BOX_FORMATS = get_args(BoxFormat)
BOX_UNITS = get_args(BoxUnit)
OUTSIDE = get_args(Outside)
_NOT_NUMBERS = (
    pd.api.types.is_bool_dtype, pd.api.types.is_complex_dtype, pd.api.types.is_datetime64_any_dtype,
)  # fmt: skip
"""Tests of dtypes whose values NumPy makes numbers of, which are no pixels."""
_MAX_FRAME = 2.0**53  # float64 has all whole numbers below it

BoxLike = Any
"""Names of columns, or values of shape (n, 4); in the shell names."""

FrameLike = Any
"""Number of the frame of all rows, name of a column, or values of shape (n,); in the shell a number or a name."""


@dataclass(frozen=True)
class RegionOptions:
    """Region options of a call: checked `RegionKwargs`, of which names are looked up later, in the frame.

    Attributes
    ----------
    box : list of label, label, or ndarray of shape (n, 4), optional
        Names of four columns, or of one that holds sequences of four numbers, or the boxes themselves.
    box_format : {"xywh", "xyxy", "cxcywh"}
    box_unit : {"pixel", "fraction"}
    margin : float
    outside : {"clip", "pad"}
    frame : label or ndarray of shape (n,), optional
        Name of a column, or the numbers of the frames.
    """

    box: Any = None
    box_format: str = "xywh"
    box_unit: str = "pixel"
    margin: float = 0.0
    outside: str = "clip"
    frame: Any = None

    @property
    def names(self) -> list[Any]:
        """Names of columns or levels that hold boxes and frames."""
        box = self.box if isinstance(self.box, list) else [] if _is_array(self.box) else [self.box]
        frame = [] if _is_array(self.frame) else [self.frame]
        return [name for name in (*box, *frame) if name is not None]

    @property
    def has_values(self) -> bool:
        """Whether boxes or frames are given as values, and not by name."""
        return _is_array(self.box) or _is_array(self.frame)

    def head(self, n: int) -> RegionOptions:
        """Return the options of the first n rows."""
        box, frame = (value[:n] if _is_array(value) else value for value in (self.box, self.frame))
        return dataclasses.replace(self, box=box, frame=frame)

    def to_regions(
        self, inputs: Sequence[Any], index: pd.Index[Any], frame: pd.DataFrame | None
    ) -> tuple[Sequence[Any], Regions]:
        """Return the inputs, None where a box or a frame is missing, and the regions of all rows.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a column is missing, or holds no boxes or numbers.
        """
        boxes, frames = self._boxes(index, frame), self._frames(index, frame)
        missing = np.zeros(len(index), dtype=bool)
        for array in (boxes, frames):
            if array is not None:
                missing |= np.isnan(np.atleast_2d(array.T).T).any(axis=1)
        if missing.any():
            inputs = [None if na else value for value, na in zip(inputs, missing.tolist(), strict=True)]
        if frames is not None:
            frames = np.where(missing, 0, frames).astype(np.int64)
        return inputs, Regions.of_inputs(
            inputs, boxes=boxes, frames=frames, is_fraction=self.box_unit == "fraction", pads=self.outside == "pad"
        )

    def _boxes(self, index: pd.Index[Any], frame: pd.DataFrame | None) -> Array | None:
        """Return left, top, right and bottom of the box of each row, with its margin."""
        if self.box is None:
            return None
        if isinstance(self.box, list):
            columns = [_to_floats("box", lookup("box", name, index, frame)) for name in self.box]
            box = np.stack(columns, axis=1) if columns else np.empty((0, 4))
        else:
            box = _to_boxes(self.box if _is_array(self.box) else lookup("box", self.box, index, frame), index)
        warn_of_fractions("box", box, self.box_unit)
        corners = _with_margin(to_corners(box, self.box_format), self.margin)
        # The difference of two infinite numbers is NaN, which would be taken for a missing box.
        return np.where(np.isnan(corners) & ~np.isnan(box).any(axis=1, keepdims=True), np.inf, corners)

    def _frames(self, index: pd.Index[Any], frame: pd.DataFrame | None) -> Array | None:
        if self.frame is None:
            return None
        is_array = _is_array(self.frame)
        frames = _to_floats("frame", self.frame if is_array else lookup("frame", self.frame, index, frame))
        _check_length("frame", self.frame, frames, index)
        wrong = frames[(np.abs(frames) >= _MAX_FRAME) | (frames != np.floor(frames)) & ~np.isnan(frames)]
        if len(wrong):
            raise ValueError(f"frame= holds {wrong[0]:g}, which is no number of a frame: they are whole, from 0 up")
        return frames


def region_options(
    *,
    frame: FrameLike = 0,
    box: BoxLike = None,
    box_format: BoxFormat = "xywh",
    box_unit: BoxUnit = "pixel",
    margin: float = 0.0,
    outside: Outside = "clip",
) -> RegionOptions | None:
    """Check the arguments; None if the rows are whole images of one frame.

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.
    """
    choices = [
        ("box_format", box_format, BOX_FORMATS),
        ("box_unit", box_unit, BOX_UNITS),
        ("outside", outside, OUTSIDE),
    ]
    for choice in choices:
        check_choice(*choice)
    if isinstance(margin, bool) or not isinstance(margin, numbers.Real) or not 0 <= margin < math.inf:
        raise ValueError(f"margin={shorten(margin)} is not a fraction of the sides of a box from 0 up, such as 0.1")
    frames = None if is_frame_number(frame) else np.asarray(frame) if isinstance(frame, list | tuple) else frame
    if box is None:
        names = {name for name, value, legal in choices if value != legal[0]} | ({"margin"} if margin else set())
        if names:
            raise ValueError(f"{min(names)}= is about boxes, and there is no box=")
        return None if frames is None else RegionOptions(frame=frames)
    return RegionOptions(_parse_box(box), box_format, box_unit, float(margin), outside, frames)


def warn_of_fractions(argument: str, boxes: Array, box_unit: str) -> None:
    """Warn if boxes in pixels are all within the first pixel, as fractions of the sides would be."""
    numbers = boxes[~np.isnan(boxes).any(axis=1)]
    if box_unit != "pixel" or not ((numbers >= 0) & (numbers <= 1)).all() or (numbers == np.floor(numbers)).all():
        return
    warnings.warn(
        f"{argument}= holds numbers from 0 to 1 alone, which are taken for pixels: fractions of the sides of an image, "
        "as of YOLO or Open Images, need box_unit='fraction'",
        UserWarning,
        stacklevel=find_stack_level(),
    )


def is_frame_number(frame: Any) -> bool:
    """Return whether a frame is that of all rows, rather than the name of a column, or values."""
    return frame is None or isinstance(frame, numbers.Number)


def lookup(argument: str, name: Any, index: pd.Index[Any], frame: pd.DataFrame | None) -> pd.Series[Any]:
    """Return a column, or a level of the index, of a name; as `groupby` does, raise if it is both.

    Raises
    ------
    KeyError
        If there is neither; the message lists the near names.
    ValueError
        If there are both, or several.
    TypeError
        If there is no frame.
    """
    if not isinstance(name, Hashable):
        raise TypeError(f"{argument}={shorten(name)} is not the name of a column")
    levels, columns = list(index.names), [] if frame is None else list(frame.columns)
    if name is not None and name in levels and name in columns:
        raise ValueError(f"{argument}={name!r} is both a column and a level of the index; rename one of them")
    if name is not None and name in levels:
        return pd.Series(index.get_level_values(levels.index(name)))
    if name not in columns:
        if frame is None:
            raise TypeError(
                f"{argument}={shorten(name)} names a column of a frame: use df.img.…('image_path', {argument}=…), or "
                f"give the values"
            )
        raise KeyError(
            f"{argument}={name!r} is no column or level of the frame; "
            f"{did_you_mean(name, [*columns, *(level for level in levels if level is not None)])}"
        )
    column: Any = frame[name] if frame is not None else None
    if column.ndim == 2:
        raise ValueError(f"the frame has {column.shape[1]} columns named {name!r}; rename them")
    return column  # type: ignore[no-any-return]


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | pd.Series | pd.DataFrame)


def _parse_box(box: Any) -> Any:
    """Return names as a list, and values as an array."""
    if _is_array(box) or not isinstance(box, list | tuple):
        return box
    is_nested = any(isinstance(item, list | tuple | np.ndarray) for item in box)
    if is_nested and not all(isinstance(item, tuple) and item and isinstance(item[0], str) for item in box):
        return np.asarray(box, dtype=object) if len({np.shape(item) for item in box}) > 1 else np.asarray(box)
    if len(box) != 4:
        raise ValueError(f"box={shorten(box)} has {len(box)} names, and a box has four: box=['x', 'y', 'w', 'h']")
    return list(box)


def _to_floats(argument: str, column: Any) -> Array:
    """Return numbers as float64, NaN where missing."""
    column = column if isinstance(column, pd.Series) else pd.Series(np.asarray(column))
    try:
        if any(is_kind(column.dtype) for is_kind in _NOT_NUMBERS):
            raise TypeError
        numbers_only = column if pd.api.types.is_numeric_dtype(column.dtype) else pd.to_numeric(column)
        return np.asarray(numbers_only.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as exc:
        name = "" if column.name is None else f" the column {column.name!r}"
        raise TypeError(f"{argument}={name} holds {column.dtype}, and not numbers") from exc


def _to_boxes(values: Any, index: pd.Index[Any]) -> Array:
    """Return an array of four numbers for each row, of a frame, an array, or a column of sequences."""
    if isinstance(values, pd.DataFrame):
        box = np.column_stack([_to_floats("box", values.iloc[:, k]) for k in range(values.shape[1])])
    elif isinstance(values, pd.Series) or (isinstance(values, np.ndarray) and values.ndim == 1):
        box = _stack(values)
    else:
        box = _stack_floats(values)
    _check_length("box", values, box, index)
    if box.ndim != 2 or box.shape[1] != 4:
        raise ValueError(f"box= has the shape {box.shape}; a box for each row has ({len(index)}, 4)")
    return box


def _stack(values: Any) -> Array:
    """Return a column of sequences, or of their texts, as an array; NaN where one is missing."""
    return np.asarray([_to_box(value) for value in values], dtype=np.float64).reshape(-1, 4)


def _to_box(value: Any) -> Any:
    if value is None or (np.ndim(value) == 0 and pd.isna(value)):
        return [math.nan] * 4
    box = value
    if isinstance(value, str):  # of a CSV file, or of a Dask frame, which holds no lists
        with contextlib.suppress(ValueError):
            box = json.loads(value)
    if not isinstance(box, str | bytes) and np.shape(box) == (4,):
        box = [math.nan if x is None or x is pd.NA else x for x in box]
    if np.shape(box) != (4,) or not all(isinstance(x, numbers.Real | decimal.Decimal) for x in box):
        raise TypeError(
            f"box= holds {shorten(value)}, and not four numbers, or a text such as '[834.0, 222.0, 56, 36]'"
        )
    return box


def _stack_floats(values: Any) -> Array:
    """Return nested sequences of numbers as an array of float64."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise TypeError(f"box={shorten(values)} holds other values than numbers") from exc


def _check_length(argument: str, values: Any, array: Array, index: pd.Index[Any]) -> None:
    if isinstance(values, pd.Series | pd.DataFrame) and not values.index.equals(index):
        raise ValueError(f"{argument}= has another index than the column; give one of its frame, or an array")
    if array.ndim == 0 or len(array) != len(index):
        n = len(array) if array.ndim else "no"
        raise ValueError(f"{argument}= has {n} rows, and the column has {len(index):,}")


def _with_margin(box: Array, margin: float) -> Array:
    if not margin:
        return box
    with np.errstate(over="ignore", invalid="ignore"):
        extra = margin * (box[:, 2:] - box[:, :2])
        return np.concatenate([box[:, :2] - extra, box[:, 2:] + extra], axis=1)


def with_regions(job: Job, options: RegionOptions | None, index: pd.Index[Any], frame: pd.DataFrame | None) -> Job:
    """Return a job of whole images as one of regions, if there are options."""
    if options is None:
        return job
    inputs, regions = options.to_regions(job.inputs, index, frame)
    return dataclasses.replace(job, inputs=inputs, regions=regions)
