"""Accessors: ``.img`` on pandas frames and series."""

from pandas_imgproc.accessor.frame import FrameImageAccessor, register
from pandas_imgproc.accessor.series import SeriesImageAccessor

__all__ = ["FrameImageAccessor", "SeriesImageAccessor", "register"]
