"""Dask frames: ``.img`` on Dask frames and series, and the image dtype in Dask.

`registration`    hooks for the import of Dask
`accessor`        methods of ``.img``, over partitions
`map_partitions`  functions of one partition
`lookup`          results of whole frames, joined back to partitions
`offsets`         offsets of partitions in the frame
"""

from pandas_imgproc.dask_frames.registration import register

__all__ = ["register"]
