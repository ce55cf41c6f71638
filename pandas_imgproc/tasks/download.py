"""Files as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.tasks.save import written
from pandas_imgproc.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import File
    from pandas_imgproc.tasks.task import Values


@dataclass(frozen=True)
class Download(Task):
    """The bytes of each file; nothing is decoded."""

    name: ClassVar[str] = "download"

    def empty(self, n: int) -> Values:
        """Return n times nothing: ndarray of object, shape (n,)."""
        return np.full(n, None, dtype=object)

    def fill(self, out: Values, position: int, file: File) -> None:  # noqa: ARG002  the task's
        """Read one file."""
        data = file.data()
        if not isinstance(data, bytes):
            raise UnreadableImageError("unsupported", "it is a picture in memory, not a file; write it with .img.save")
        out[0] = data

    def wrap(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any]:
        """Return the Series of str named ``path``: the files that were written, missing where there is none."""
        return written(values, status, failures, index)
