"""Base of the accessors: a column of images, and the steps of every method from inputs to result."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from pandas_imgproc import codec, execution, failures
from pandas_imgproc._text import shorten
from pandas_imgproc.accessor._unknown_names import UnknownNameHints
from pandas_imgproc.accessor.options import ReadOptions, WriteOptions, check_column, get_column
from pandas_imgproc.accessor.regions import with_regions
from pandas_imgproc.array import ImageArray, is_image_dtype
from pandas_imgproc.sinks import JobContext, check_row_memory, memory_sink
from pandas_imgproc.sinks.object_files import file_sink
from pandas_imgproc.sinks.output_paths import resolve_output_paths
from pandas_imgproc.sinks.path_template import check_to
from pandas_imgproc.source import FailedInput, RowInputs, check, column_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pandas_imgproc.sinks import MemorySink, ResultStore
    from pandas_imgproc.tasks import Task


class _ImageAccessorBase(UnknownNameHints):
    """Column of images, and its frame if the method was called on the frame."""

    _requires_schema: ClassVar[str | None] = None
    """Reason why dtype and shape must be known before the first result, as an error names it."""

    def __init__(
        self, column: pd.Series[Any], frame: pd.DataFrame | None = None, others: tuple[pd.Series[Any], ...] = ()
    ) -> None:
        self._column, self._frame = _without_arrow_dtype(column), frame
        self._others = tuple(map(_without_arrow_dtype, others))

    @property
    def _image_array(self) -> ImageArray:
        if isinstance(self._column.array, ImageArray):
            return self._column.array
        raise TypeError(
            f"the column {self._column.name!r} holds {self._column.dtype}, not images; "
            "load it first: .img.load_resized(size=64)"
        )

    def _run(self, task: Task, read_options: ReadOptions, store: ResultStore | None = None) -> Any:
        """Run a task on every row, and return the result with the index of the column."""
        job = self._make_job(task, read_options, self._inputs())
        if store is None:
            return self._execute(job, memory_sink(task, len(job.inputs)), read_options)
        job = dataclasses.replace(job, target=store.path)
        return self._execute(job, store.open_sink(self._job_context(job)), read_options)

    def _inputs(self) -> Sequence[Any]:
        if not self._others:
            return column_inputs(self._column)
        return join_inputs([column_inputs(column) for column in (self._column, *self._others)])

    def _write(
        self,
        task: Task,
        read_options: ReadOptions,
        write_options: WriteOptions,
        *,
        encode_options: codec.EncodeOptions | None = None,
        mode: str | None = None,
        variants: Sequence[int] = (),
    ) -> Any:
        """Run a task that encodes files, write them, and return their paths."""
        inputs = column_inputs(self._column)
        job = self._make_job(task, read_options, inputs, check_to(write_options.to))
        targets = resolve_output_paths(
            write_options.to, job.inputs, read_options.source, index=self._column.index, frame=self._frame,
            encode_options=encode_options, variants=variants, regions=job.regions,
        )  # fmt: skip
        check_modes(targets, encode_options, mode)
        sink = file_sink(self._job_context(job), targets, write_options.to)
        sink.open(overwrite=write_options.overwrite, retry=write_options.retry)
        return self._execute(
            dataclasses.replace(job, targets=targets, target=str(write_options.to)), sink, read_options
        )

    def _job_context(self, job: execution.Job) -> JobContext:
        return JobContext(job.task, self._column.index, job.inputs, job.source, job.columns, job.regions)

    @staticmethod
    def _apply_to_all_rows(result: Any, function: Callable[[Any], Any], *, row_wise: bool = False) -> Any:  # noqa: ARG004
        """Return a function's value for all rows of a result; `row_wise` if each row depends on itself alone."""
        return function(result)

    def _make_job(
        self, task: Task, read_options: ReadOptions, inputs: Sequence[Any], to: str | None = None
    ) -> execution.Job:
        for column in (self._column, *self._others):
            check_column(column, read_options.source)
        check(read_options.source, split_inputs(inputs) if self._others else inputs, to)
        check_row_memory(task)
        check_result_index(task, self._column.index)
        job = execution.Job(
            task, read_options.source, inputs, read_options.npartitions, read_options.progress,
            fail_fast=read_options.errors == "raise",
            ends_on_bug=read_options.errors == "warn" and bool(task.user_functions), columns=self._extra_columns(task),
            index=self._column.index, column="" if self._column.name is None else str(self._column.name),
        )  # fmt: skip
        if self._others and read_options.regions is not None:
            raise ValueError("box= and frame= are of one column of images, and the function is given several")
        return with_regions(job, read_options.regions, self._column.index, self._frame)

    def _extra_columns(self, task: Task) -> Any:
        """Return the columns of the frame that the task uses beside the images, if any."""
        return None if not task.column_names or self._frame is None else self._frame[list(task.column_names)]

    def _frame_column(self, argument: str, name: Any, method: str) -> Any:
        """Return a column of the frame by its name, or a Series with the same index."""
        if isinstance(name, pd.Series):
            if not name.index.equals(self._column.index):
                raise ValueError(
                    f"{argument}={name.name!r} is a column of another index; select the same rows of it first"
                )
            return name
        if self._frame is None:
            raise TypeError(
                f"{argument}={name!r:.100} names a column of a frame: use df.img.{method}(column, {argument}=…), or "
                f"give the column, {argument}=df[{name!r:.100}]"
            )
        return get_column(self._frame, name)

    def _check_extra_columns(self, names: Any) -> tuple[Any, ...] | None:
        """Return the names of other columns of the frame, a checked ``with_columns``."""
        if names is None:
            return None
        if not isinstance(names, list | tuple):
            raise TypeError(f"with_columns={shorten(names)} is no list of names, such as ['title', 'price']")
        if self._frame is None:
            raise ValueError("with_columns= needs a frame: df.img.…('image_path', …)")
        for name in names:
            get_column(self._frame, name)
        return tuple(names)

    def _execute(self, job: execution.Job, sink: MemorySink, read_options: ReadOptions) -> Any:
        error = execution.execute(job, sink).first
        status, failed = sink.status()
        failures.apply_errors_policy(
            read_options.errors, status, failed, self._column.index, read_options.source, error and error.__cause__
        )
        return sink.to_pandas(job.task, self._column.index)


def _without_arrow_dtype(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of Arrow's images as an image column: pandas takes its values for bytes."""
    if not is_image_dtype(column.dtype):
        return column
    return pd.Series(ImageArray._from_sequence(column.array), index=column.index, name=column.name, copy=False)


def check_result_index(task: Task, index: pd.Index[Any]) -> None:
    """Raise a TypeError if the index of the result cannot be made: before the first image, not after the last."""
    try:
        task.index(index)
    except (TypeError, NotImplementedError) as exc:
        raise TypeError(
            f"{task.name} adds a level to the index, and pandas cannot make a level of its labels, of {index.dtype} "
            f"({exc}); use .reset_index() or .set_axis(index.astype(str))"
        ) from exc


def column_inputs(column: pd.Series[Any]) -> Sequence[Any]:
    """Return the values of a column as inputs; missing images of an image column are `FailedInput`."""
    column = _without_arrow_dtype(column)
    if not isinstance(column.array, ImageArray):
        return column_values(column)
    inputs = list(column_values(column))
    for i, failed in zip(*column.array.failure_rows(), strict=True):
        inputs[i] = FailedInput(failed["path"], failed["kind"], failed["message"])
    return inputs


def join_inputs(columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the inputs of rows of several image columns; None where one is missing."""
    return [None if any(value is None for value in row) else RowInputs(row) for row in zip(*columns, strict=True)]


def split_inputs(inputs: Sequence[Any]) -> list[Any]:
    """Return the inputs of all image columns of some rows."""
    return [one for value in inputs if value is not None for one in value.values]


def check_modes(targets: Iterable[str | None], encode_options: codec.EncodeOptions | None, mode: str | None) -> None:
    """Raise a ValueError if the formats of some files cannot hold images of a mode."""
    if encode_options is not None and mode is not None:
        names = {encode_options.format or codec.format_of(target) for target in targets if target is not None}
        codec.check_modes(sorted(filter(None, names)), mode)
