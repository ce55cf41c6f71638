"""Task of `dataset`: finds the images that can be read, without storing any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.tasks.base import Task, with_labels

if TYPE_CHECKING:
    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class Readable(Task):
    """Check that an image can be loaded with `decode_options`, which it is."""

    decode_options: codec.DecodeOptions
    name = "dataset"

    def allocate(self, n: int) -> Values:
        """Return n rows of no values: the result is the row's status."""
        return np.zeros((n, 0), dtype=np.uint8)

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Load one image, or raise."""
        codec.decode_into(file.data(), self.decode_options, np.empty(self.decode_options.shape, dtype=np.uint8))

    def to_pandas(
        self,
        values: Values,  # noqa: ARG002  they have no bytes
        status: Values,
        failures: tuple[Failure, ...],
        index: pd.Index[Any],
    ) -> pd.Series[Any]:
        """Return the Series of bool named ``readable``."""
        series = pd.Series(status == 0, index=index, name="readable")
        series.attrs["failures"] = with_labels(failures, index)
        return series
