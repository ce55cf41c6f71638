"""Task of `show`: small images that keep their aspect ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.tasks.base import Task

if TYPE_CHECKING:
    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class Thumbnail(Task):
    """Thumbnail of each image, never enlarged; `decode_options` are of mode RGBA, with ``fit="thumbnail"``."""

    decode_options: codec.DecodeOptions
    name = "show"

    def allocate(self, n: int) -> Values:
        """Return a structured array of n rows: height and width, and pixels of the largest size."""
        assert self.decode_options.size is not None
        width, height = self.decode_options.size
        return np.zeros(n, dtype=[("size", "u2", (2,)), ("pixels", "u1", (height, width, 4))])

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Decode one image into ``out[0]``."""
        pixels = np.asarray(codec.load(file.data(), self.decode_options))
        out["size"][0] = pixels.shape[:2]
        out["pixels"][0, : pixels.shape[0], : pixels.shape[1]] = pixels

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any]:
        """Return a Series of pixels, of the Failure of a row that has one, or of None."""
        tiles: list[Any] = [
            row["pixels"][: row["size"][0], : row["size"][1]] if code == 0 else failures[code - 1] if code > 0 else None
            for row, code in zip(values, status, strict=True)
        ]
        return pd.Series(tiles, index=index, dtype=object)
