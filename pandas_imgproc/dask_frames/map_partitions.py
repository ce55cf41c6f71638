"""Functions of one partition, which Dask calls on a worker.

They are frozen dataclasses, as tasks are: equal ones have equal keys in the graph.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from dask.tokenize import tokenize

from pandas_imgproc import failures
from pandas_imgproc.accessor.base import column_inputs, join_inputs
from pandas_imgproc.accessor.regions import with_regions
from pandas_imgproc.dask_frames.pickled_function import reduce_function
from pandas_imgproc.execution import Job, ProcessTask, run_in_graph, write_in_graph
from pandas_imgproc.sinks import JobContext, output_paths
from pandas_imgproc.sinks.object_files import file_sink
from pandas_imgproc.source import check, content_bytes, is_encoded

if TYPE_CHECKING:
    from pandas_imgproc.accessor.options import ReadOptions, WriteOptions
    from pandas_imgproc.codec import EncodeOptions, PillowSettings
    from pandas_imgproc.partition import FunctionErrors
    from pandas_imgproc.tasks import Task


@dataclass(frozen=True)
class MapPartition:
    """Function that runs a task on the rows of a partition, and returns the results.

    Attributes
    ----------
    task : Task
        Task with a known dtype.
    read_options : ReadOptions
        Source of the images, and the error policy.
    settings : PillowSettings
        Settings of the process that builds the graph.
    image_columns : tuple
        Names of further image columns.
    step : str
        Identifier of this step within a fused Dask task, the same in every process; a function's token may differ.
    """

    task: Task
    read_options: ReadOptions
    settings: PillowSettings
    image_columns: tuple[Any, ...] = field(default=(), kw_only=True)
    step: str = field(default="", kw_only=True)

    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return reduce_function(functools.partial(type(self), **values))

    def with_token(self) -> Self:
        """Return the function with a unique `step`."""
        return dataclasses.replace(self, step=tokenize(self))

    @property
    def is_elementwise(self) -> bool:
        """Whether the result of a row depends on its value in the column alone."""
        return not self.task.uses_position and self.read_options.regions is None

    @functools.cached_property
    def process_task(self) -> ProcessTask:
        """Task in this process, as long as Dask holds this function."""
        return ProcessTask(lambda: self.task)

    def __call__(
        self, column: pd.Series[Any], offset: pd.Series[Any] | None = None, frame: pd.DataFrame | None = None
    ) -> Any:
        """Return the result of a column; `offset` holds the frame position of its first row, `frame` other columns."""
        job = self.make_job(column, frame)
        result = run_in_graph(job, self.process_task, self.settings, self.step, _to_int(offset))
        self._apply_errors_policy(column, result.failures, result.function_errors)
        assert result.values is not None
        return self.task.to_pandas(result.values, result.status, tuple(result.failures), column.index)

    def make_job(self, column: pd.Series[Any], frame: pd.DataFrame | None = None) -> Job:
        """Return the job of a single partition; `frame` holds further image columns, and others for the function."""
        inputs = column_inputs(column)
        check(self.read_options.source, inputs)
        ends_on_bug = self.read_options.errors == "warn" and bool(self.task.user_functions)
        if self.image_columns and frame is not None:
            inputs = join_inputs([inputs, *(column_inputs(frame[name]) for name in self.image_columns)])
        columns = frame[list(self.task.column_names)] if self.task.column_names and frame is not None else None
        job = Job(
            self.task, self.read_options.source, inputs, ends_on_bug=ends_on_bug, columns=columns, index=column.index,
            column=str(column.name),
        )  # fmt: skip
        return with_regions(job, self.read_options.regions, column.index, frame)

    def meta(self, column: pd.Series[Any]) -> Any:
        """Return a result without rows; no file is opened."""
        result = self.task.to_pandas(self.task.allocate(0), np.empty(0, dtype=np.int32), (), column.index[:0])
        result.attrs.clear()
        return result

    def _apply_errors_policy(self, column: pd.Series[Any], failed: Any, errors: FunctionErrors) -> None:
        failures.apply_errors_policy_for_partition(
            self.read_options.errors, self.task.name, len(column), failed, column.index,
            errors.first and errors.first.__cause__,
        )  # fmt: skip


@dataclass(frozen=True)
class MapAndWritePartition(MapPartition):
    """Function that runs a task on the rows of a partition, and writes each result to a file.

    Attributes
    ----------
    write_options : WriteOptions
        Folder or template, and the handling of existing files.
    encode_options : EncodeOptions, optional
        Encoding of the files; None writes bytes unchanged.
    variants : tuple of int
        Variant numbers of the results of each row, if it has several.
    parent : str, optional
        Common parent folder of the sources of all partitions; subfolders below are preserved.
    """

    write_options: WriteOptions
    encode_options: EncodeOptions | None
    variants: tuple[int, ...]
    parent: str | None

    def __call__(
        self, column: pd.Series[Any], offset: pd.Series[Any] | None = None, frame: pd.DataFrame | None = None
    ) -> Any:
        """Write the files of a column; `frame` holds the columns of the template and of the regions."""
        start, options, source = _to_int(offset), self.write_options, self.read_options.source
        job = self.make_job(column, frame)
        targets = output_paths.resolve_output_paths(
            options.to, job.inputs, source, index=column.index, frame=frame, encode_options=self.encode_options,
            variants=self.variants, offset=start, parent=self.parent, regions=job.regions,
        )  # fmt: skip
        context = JobContext(self.task, column.index, job.inputs, source, regions=job.regions)
        sink = file_sink(context, targets, options.to)
        sink.open(overwrite=options.overwrite, retry=options.retry)
        job = dataclasses.replace(job, targets=targets)
        errors = write_in_graph(job, self.process_task, sink, self.settings, self.step, start)
        self._apply_errors_policy(column, sink.status()[1], errors)
        return sink.to_pandas(self.task, column.index)


def call_function(column: pd.Series[Any], function: Any, *others: Any) -> Any:
    """Call the function of a partition, which is the result of a Dask task."""
    return function(column, *others)


def _to_int(offset: pd.Series[Any] | None) -> int:
    return 0 if offset is None else int(offset.iloc[0])


def partition_length(index: pd.Index[Any]) -> pd.Series[Any]:
    """Return the number of rows of a partition, as a Series of one row."""
    return pd.Series([len(index)], dtype="int64")


def paths_only(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the inputs of a column, with a digest in place of each encoded image.

    Examples
    --------
    >>> paths_only(pd.Series(["a.jpg", None])).tolist()
    ['a.jpg', None]
    """
    paths = np.empty(len(column), dtype=object)
    for i, value in enumerate(column_inputs(column)):
        paths[i] = content_digest(value) if is_encoded(value) else value
    return pd.Series(paths, index=column.index, name=column.name, dtype=object)


def content_digest(value: Any) -> Any:
    """Return a digest of an encoded image or an image in memory: bytes, or a dict for a dict."""
    if isinstance(value, dict):
        return {"bytes": content_digest(value["bytes"]), "path": value.get("path")}
    return tokenize(content_bytes(value), getattr(value, "shape", None) if type(value) is np.ndarray else None).encode()


def head(part: Any, n: int) -> Any:
    """Return the first rows of a partition."""
    return part.iloc[:n]
