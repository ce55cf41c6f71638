"""What is done with one partition: functions of pandas frames that Dask calls where the partition is.

They are frozen values, as tasks are: equal ones have equal names in the graph.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from dask.tokenize import tokenize

from pandas_imgproc import failures
from pandas_imgproc.accessor.base import column_inputs
from pandas_imgproc.execution import Job, run_in_graph, write_in_graph
from pandas_imgproc.sinks import ImageFileSink, JobContext, output_paths
from pandas_imgproc.source import check, is_encoded

if TYPE_CHECKING:
    from pandas_imgproc.accessor.options import ReadOptions, WriteOptions
    from pandas_imgproc.codec import EncodeOptions, PillowSettings
    from pandas_imgproc.tasks import Task


@dataclass(frozen=True)
class MapPartition:
    """Do a task on the rows of a partition, and keep the values.

    Attributes
    ----------
    task : Task
        Of a form that is known before the first answer.
    how : ReadOptions
        ReadOptions images are found, and what becomes of those that cannot be read.
    settings : PillowSettings
        Of the process that has built the graph.
    step : str
        What tells this step from others of one Dask task, in every process: a function's token may differ there.
    """

    task: Task
    how: ReadOptions
    settings: PillowSettings
    step: str = field(default="", kw_only=True)

    def with_token(self) -> Self:
        """Return this with a `step` of its own."""
        return dataclasses.replace(self, step=tokenize(self))

    def __call__(self, column: pd.Series[Any], first: pd.Series[Any] | None = None) -> Any:
        """Return the answer for a column; `first` holds the position of its first row."""
        call = self.call(column)
        part = run_in_graph(call, self.settings, self.step, 0 if first is None else int(first.iloc[0]))
        failures.apply_errors_policy_for_partition(
            self.how.errors, self.task.name, len(column), part.failures, column.index
        )
        assert part.values is not None
        return self.task.to_pandas(part.values, part.status, tuple(part.failures), column.index)

    def call(self, column: pd.Series[Any]) -> Job:
        """Return the partition as a call of its own."""
        inputs = column_inputs(column)
        check(self.how.source, inputs)
        return Job(self.task, self.how.source, inputs)

    def meta(self, column: pd.Series[Any]) -> Any:
        """Return an answer without rows; no file is opened for it."""
        nothing = np.empty(0, dtype=np.int32)
        answer = self.task.to_pandas(self.task.allocate(0), nothing, (), column.index[:0])
        answer.attrs.clear()
        return answer


@dataclass(frozen=True)
class MapAndWritePartition(MapPartition):
    """Do a task on the rows of a partition, and write each answer to a file.

    Attributes
    ----------
    where : WriteOptions
        A folder or a template, and what becomes of files that are there.
    encode_options : EncodeOptions, optional
        ReadOptions files are written, unless their bytes are kept as they are.
    variants : tuple of int
        Numbers of the answers of each row, if it has several.
    parent : str, optional
        The folder below which the sources' own folders are kept: one for all partitions.
    """

    where: WriteOptions
    encode_options: EncodeOptions | None
    variants: tuple[int, ...]
    parent: str | None

    def __call__(
        self, column: pd.Series[Any], first: pd.Series[Any] | None = None, frame: pd.DataFrame | None = None
    ) -> Any:
        """Write the files of a column; `frame` holds the columns that the template names."""
        start = 0 if first is None else int(first.iloc[0])
        call = self.call(column)
        names = output_paths.resolve_output_paths(
            self.where.to, call.inputs, self.how.source, index=column.index, frame=frame, encode_options=self.encode_options,
            variants=self.variants, offset=start, parent=self.parent,
        )  # fmt: skip
        call = Job(call.task, call.source, call.inputs, targets=names)
        sink = ImageFileSink(JobContext(self.task, column.index, call.inputs, self.how.source), names)
        sink.open(overwrite=self.where.overwrite, retry=self.where.retry)
        write_in_graph(call, sink, self.settings, self.step, start)
        _, failed = sink.status()
        failures.apply_errors_policy_for_partition(self.how.errors, self.task.name, len(column), failed, column.index)
        return sink.to_pandas(self.task, column.index)


def partition_length(index: pd.Index[Any]) -> pd.Series[Any]:
    """Return how many rows a partition has, as a Series of one row."""
    return pd.Series([len(index)], dtype="int64")


def paths_only(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return what stands in a column, with a digest in place of each encoded image.

    Examples
    --------
    >>> paths_only(pd.Series(["a.jpg", None])).tolist()
    ['a.jpg', None]
    """
    small = np.empty(len(column), dtype=object)
    for row, cell in enumerate(column_inputs(column)):
        small[row] = _digest(cell) if is_encoded(cell) else cell
    return pd.Series(small, index=column.index, name=column.name, dtype=object)


def _digest(cell: Any) -> Any:
    if isinstance(cell, dict):
        return {"bytes": _digest(cell["bytes"]), "path": cell.get("path")}
    return tokenize(cell).encode()


def head(part: Any, n: int) -> Any:
    """Return the first rows of a partition."""
    return part.iloc[:n]
