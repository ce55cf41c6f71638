"""Where the rows of a partition stand in the whole frame: a lazy cumulative sum of the partitions' lengths."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._expr import Assign, Elemwise, MapPartitions, Projection, RenameFrame

from pandas_imgproc.dask_frames.map_partitions import MapPartition, partition_length


def lazy_index(frame: Any) -> Any:
    """Return the index of a Dask frame or column, told without reading an image where that can be.

    The index of a column that was loaded is that of the column of paths: otherwise each image would be decoded to
    know labels, or all of them be kept until they are known.
    """
    expr = frame.expr
    while isinstance(expr, _SAME_LABELS) or _is_ours(expr):
        expr = expr.frame
    return new_collection(expr).index


_SAME_LABELS = (Projection, Assign, RenameFrame)
"""What surely leaves the labels as they are. What Dask calls `Elemwise` leaves but their number."""


def source_rows(answer: Any) -> Any:
    """Return the column that each row of an answer of ours was computed of, and of that alone; else the answer.

    To know which row is which, a path is enough, and the image is not decoded again.
    """
    behind = walked = answer.expr
    while isinstance(walked, Projection) or _is_of_the_cell(walked):
        behind = behind if isinstance(walked, Projection) else walked.frame
        walked = walked.frame
    return answer if behind is answer.expr else new_collection(behind)


def _is_ours(expr: Any) -> bool:
    return isinstance(expr, MapPartitions) and isinstance(expr.func, MapPartition) and expr.func.task.n_outputs == 1


def _is_of_the_cell(expr: Any) -> bool:
    """Return whether a row of ours depends on what stands in its cell, and on neither place nor template."""
    return _is_ours(expr) and type(expr.func) is MapPartition and not expr.func.task.uses_position


def partition_offsets(frame: Any) -> Any:
    """Return the position of the first row of each partition: a Dask Series of one row in each."""
    expr = frame.expr
    while isinstance(expr, Elemwise) or _is_ours(expr):  # as many rows
        expr = max(expr.dependencies(), key=lambda dependency: dependency.npartitions)
    sizes = new_collection(expr).index.map_partitions(
        partition_length, meta=pd.Series(dtype="int64"), clear_divisions=True
    )
    return sizes.cumsum() - sizes
