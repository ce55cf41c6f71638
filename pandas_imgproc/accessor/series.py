"""Accessor of series: ``series.img``."""

from __future__ import annotations

from pandas_imgproc.accessor._tracebacks import trim_tracebacks
from pandas_imgproc.accessor.explode import _ExplodeMethods
from pandas_imgproc.accessor.feed import _FeedingMethods
from pandas_imgproc.accessor.load import _LoadMethods
from pandas_imgproc.accessor.map_batches import _BatchMethods
from pandas_imgproc.accessor.save import _SaveMethods
from pandas_imgproc.accessor.shards import _ShardMethods
from pandas_imgproc.accessor.show import _DisplayMethods
from pandas_imgproc.accessor.transform import _TransformMethods


@trim_tracebacks
class SeriesImageAccessor(
    _LoadMethods, _SaveMethods, _ShardMethods, _TransformMethods, _BatchMethods, _ExplodeMethods, _FeedingMethods,
    _DisplayMethods,
):  # fmt: skip
    """Accessor ``series.img``: methods for a column of paths, encoded bytes, ``{bytes, path}`` structs or images.

    Parameters
    ----------
    column : Series
        The column.
    frame : DataFrame, optional
        The frame of the column, if the method was called on the frame.
    others : tuple of Series
        Further image columns of the frame.
    """
