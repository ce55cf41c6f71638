"""Where the rows of a partition stand in the whole frame: a lazy cumulative sum of the partitions' lengths."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._expr import Elemwise, MapPartitions

from pandas_imgproc.dask_frames.partitions import Rows, size


def index_of(frame: Any) -> Any:
    """Return the index of a Dask frame or column, told without reading a picture where that can be.

    The index of a column that was loaded is that of the column of paths: otherwise each picture would be decoded to
    count the rows, or all of them be kept until they are counted.
    """
    expr = frame.expr
    while isinstance(expr, Elemwise) or _is_ours(expr):
        expr = max(expr.dependencies(), key=lambda dependency: dependency.npartitions)
    return new_collection(expr).index


def _is_ours(expr: Any) -> bool:
    return isinstance(expr, MapPartitions) and isinstance(expr.func, Rows) and expr.func.task.copies == 1


def firsts(frame: Any) -> Any:
    """Return the position of the first row of each partition: a Dask Series of one row in each."""
    sizes = index_of(frame).map_partitions(size, meta=pd.Series(dtype="int64"), clear_divisions=True)
    return sizes.cumsum() - sizes
