"""Offsets of partitions in the frame: a lazy cumulative sum of their lengths."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._expr import Assign, Elemwise, MapPartitions, Projection, RenameFrame

from pandas_imgproc.dask_frames.map_partitions import MapPartition, partition_length

_INDEX_PRESERVING_EXPRS = (Projection, Assign, RenameFrame)
"""Expressions that preserve the labels for certain. Dask's `Elemwise` preserves only their number."""


def lazy_index(frame: Any) -> Any:
    """Return the index of a Dask frame or column, without a decoded image if possible.

    The index of a loaded column is that of the column of paths: its own would decode each image, or hold all of them
    in memory, for labels only.
    """
    expr = frame.expr
    while isinstance(expr, _INDEX_PRESERVING_EXPRS) or _maps_rows(expr):
        expr = expr.frame
    return new_collection(expr).index


def source_rows(result: Any) -> Any:
    """Return the column from which alone each row of a result was computed, or the result itself.

    A path is enough as the key of a row, and saves decoding the image again.
    """
    source = expr = result.expr
    while isinstance(expr, Projection) or _is_elementwise(expr):
        source = source if isinstance(expr, Projection) else expr.frame
        expr = expr.frame
    return result if source is result.expr else new_collection(source)


def partition_offsets(frame: Any) -> Any:
    """Return the position of the first row of each partition: a Dask Series of one row in each."""
    expr = frame.expr
    while isinstance(expr, Elemwise) or _maps_rows(expr):  # the number of rows is the same
        expr = max(expr.dependencies(), key=lambda dependency: dependency.npartitions)
    sizes = new_collection(expr).index.map_partitions(
        partition_length, meta=pd.Series(dtype="int64"), clear_divisions=True
    )
    return sizes.cumsum() - sizes


def _maps_rows(expr: Any) -> bool:
    """Return whether an expression is a method of ``.img`` with one result row per row."""
    return isinstance(expr, MapPartitions) and isinstance(expr.func, MapPartition) and expr.func.task.n_outputs == 1


def _is_elementwise(expr: Any) -> bool:
    """Return whether each result row depends on its input alone, not on its position or a template."""
    return _maps_rows(expr) and type(expr.func) is MapPartition and expr.func.is_elementwise
