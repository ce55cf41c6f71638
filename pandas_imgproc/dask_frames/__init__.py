"""Dask frames: ``.img`` on Dask frames and series, and the image dtype in Dask."""

from pandas_imgproc.dask_frames.registration import register

__all__ = ["register"]
