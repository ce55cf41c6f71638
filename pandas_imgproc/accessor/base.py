"""A column of images, and the one way that every method takes: task, call, driver, answer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from pandas_imgproc import codec, execution, failures
from pandas_imgproc.accessor.options import ReadOptions, WriteOptions, check_column
from pandas_imgproc.array import ImageArray
from pandas_imgproc.sinks import ImageFileSink, JobContext, check_row_memory, memory_sink
from pandas_imgproc.sinks.output_paths import resolve_output_paths
from pandas_imgproc.source import FailedInput, check, column_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

    from pandas_imgproc.sinks import MemorySink, ResultStore
    from pandas_imgproc.tasks import Task


class _ImageAccessorBase:
    """A column of images, as paths, encoded bytes, ``{bytes, path}`` structs or images.

    Parameters
    ----------
    column : Series
        The column.
    frame : DataFrame, optional
        The frame that it is a column of, if the method was called on that.
    """

    _requires_schema: ClassVar[str | None] = None
    """What asks for the form of the answers before the first is there, as an error calls it."""

    def __init__(self, column: pd.Series[Any], frame: pd.DataFrame | None = None) -> None:
        self._column, self._frame = column, frame

    @property
    def _image_array(self) -> ImageArray:
        if isinstance(self._column.array, ImageArray):
            return self._column.array
        raise TypeError(
            f"the column {self._column.name!r} holds {self._column.dtype}, not images; "
            "load it first: .img.load_resized(size=64)"
        )

    def _run(self, task: Task, how: ReadOptions, kept: ResultStore | None = None) -> Any:
        """Do a task on every row, and wrap the answer with the index of the column."""
        call = self._make_job(task, how, column_inputs(self._column))
        if kept is None:
            return self._execute(call, memory_sink(task, len(call.inputs)), how)
        context = JobContext(task, self._column.index, call.inputs, call.source)
        return self._execute(call, kept.open_sink(context), how)

    def _write(
        self,
        task: Task,
        how: ReadOptions,
        where: WriteOptions,
        *,
        encode_options: codec.EncodeOptions | None = None,
        mode: str | None = None,
        variants: Sequence[int] = (),
    ) -> Any:
        """Do a task whose answers are the bytes of files, write them, and wrap their paths (see `targets.resolve_output_paths`)."""
        rows = column_inputs(self._column)
        call = self._make_job(task, how, rows)
        targets = resolve_output_paths(
            where.to, rows, how.source, index=self._column.index, frame=self._frame, encode_options=encode_options,
            variants=variants,
        )  # fmt: skip
        check_modes(targets, encode_options, mode)
        sink = ImageFileSink(JobContext(task, self._column.index, rows, how.source), targets)
        sink.open(overwrite=where.overwrite, retry=where.retry)
        return self._execute(dataclasses.replace(call, targets=targets), sink, how)

    @staticmethod
    def _apply_to_all_rows(answer: Any, function: Callable[[Any], Any], *, by_row: bool = False) -> Any:  # noqa: ARG004
        """Return what a function makes of all rows of an answer; `by_row` if each depends on itself alone."""
        return function(answer)

    def _make_job(self, task: Task, how: ReadOptions, rows: list[Any]) -> execution.Job:
        check_column(self._column, how.source)
        check(how.source, rows)
        check_row_memory(task)
        return execution.Job(task, how.source, rows, how.npartitions, how.progress, fail_fast=how.errors == "raise")

    def _execute(self, call: execution.Job, sink: MemorySink, how: ReadOptions) -> Any:
        execution.execute(call, sink)
        status, failed = sink.status()
        failures.apply_errors_policy(how.errors, status, failed, self._column.index, how.source)
        return sink.to_pandas(call.task, self._column.index)


def column_inputs(column: pd.Series[Any]) -> list[Any]:
    """Return what stands in a column; in an image column also why some images are missing."""
    found = column_values(column)
    if isinstance(column.array, ImageArray):
        for position, failed in zip(*column.array.failure_rows(), strict=True):
            found[position] = FailedInput(failed["path"], failed["kind"], failed["message"])
    return found


def check_modes(targets: Iterable[str | None], encode_options: codec.EncodeOptions | None, mode: str | None) -> None:
    """Raise a ValueError if the formats of some files cannot hold images of a mode."""
    if encode_options is not None and mode is not None:
        names = {encode_options.format or codec.format_of(target) for target in targets if target is not None}
        codec.check_modes(sorted(filter(None, names)), mode)
