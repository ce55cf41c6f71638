"""Task of `load_resized`: images as pixels of one shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.array import ImageArray
from pandas_imgproc.tasks.base import Task

if TYPE_CHECKING:
    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class LoadResized(Task):
    """Pixels of each image, all of one shape; `decode_options` hold every option that changes them."""

    decode_options: codec.DecodeOptions
    name = "load_resized"
    releases_gil = True

    def allocate(self, n: int) -> Values:
        """Return n black images: ndarray of uint8, shape (n, height, width, channels)."""
        return np.zeros((n, *self.decode_options.shape), dtype=np.uint8)

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Decode one image into ``out[0]``."""
        codec.decode_into(file.data(), self.decode_options, out[0])

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any]:
        """Return the Series named ``image``; its array is `values` itself, not a copy."""
        return pd.Series(ImageArray(values, status, failures), index=index, name="image", copy=False)
