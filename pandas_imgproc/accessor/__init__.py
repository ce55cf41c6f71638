"""Accessors: ``.img`` on pandas frames and series."""

from pandas_imgproc.accessor.frame import FrameImageAccessor, SeriesImageAccessor, register

__all__ = ["FrameImageAccessor", "SeriesImageAccessor", "register"]
