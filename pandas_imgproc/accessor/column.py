"""A column of pictures, and the one way that every method takes: task, call, driver, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_imgproc import drivers, failures
from pandas_imgproc.accessor import arguments
from pandas_imgproc.array import ImageArray
from pandas_imgproc.destination import in_memory
from pandas_imgproc.source import Unreadable, cells, check

if TYPE_CHECKING:
    import pandas as pd

    from pandas_imgproc import results
    from pandas_imgproc.tasks import Task


class Column:
    """A column of pictures, as paths, encoded bytes, ``{bytes, path}`` structs or images.

    Parameters
    ----------
    column : Series
        The column.
    frame : DataFrame, optional
        The frame that it is a column of, if the method was called on that.
    """

    def __init__(self, column: pd.Series[Any], frame: pd.DataFrame | None = None) -> None:
        self._column, self._frame = column, frame

    @property
    def _images(self) -> ImageArray:
        if isinstance(self._column.array, ImageArray):
            return self._column.array
        raise TypeError(
            f"the column {self._column.name!r} holds {self._column.dtype}, not images; "
            "load it first: .img.load_resized(size=64)"
        )

    def _run(self, task: Task, how: arguments.How, kept: results.Place | None = None) -> Any:
        """Do a task on every row, and wrap the answer with the index of the column."""
        arguments.check_column(self._column, how.source)
        index, rows = self._column.index, self._cells()
        check(how.source, rows)
        call = drivers.Call(
            task, how.source, rows, how.npartitions, how.progress, stop_at_failure=how.errors == "raise"
        )
        destination = in_memory(task, len(rows)) if kept is None else kept.open(call, index)
        drivers.run(call, destination)
        status, failed = destination.status()
        failures.report(how.errors, status, failed, index, how.source)
        return destination.wrap(task, index)

    def _cells(self) -> list[Any]:
        """Return what stands in the column; in an image column also why some images are missing."""
        found = cells(self._column)
        if isinstance(self._column.array, ImageArray):
            for position, failed in zip(*self._column.array.failure_rows(), strict=True):
                found[position] = Unreadable(failed["path"], failed["kind"], failed["message"])
        return found
