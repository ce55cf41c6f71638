"""Small images to look at, each in its own proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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
    """Each image within a square, never enlarged.

    Attributes
    ----------
    decode_options : DecodeOptions
        Of mode RGBA, with ``fit="thumbnail"``.
    """

    decode_options: codec.DecodeOptions
    name: ClassVar[str] = "show"

    def allocate(self, n: int) -> Values:
        """Return room for n images: their height and width, and pixels that they need not fill."""
        assert self.decode_options.size is not None
        width, height = self.decode_options.size
        return np.zeros(n, dtype=[("size", "u2", (2,)), ("pixels", "u1", (height, width, 4))])

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the task's
        """Decode one image."""
        pixels = np.asarray(codec.load(file.data(), self.decode_options))
        out["size"][0] = pixels.shape[:2]
        out["pixels"][0, : pixels.shape[0], : pixels.shape[1]] = pixels

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any]:
        """Return for each row its pixels, or its failure, or None."""
        shown: list[Any] = [
            row["pixels"][: row["size"][0], : row["size"][1]] if code == 0 else failures[code - 1] if code > 0 else None
            for row, code in zip(values, status, strict=True)
        ]
        return pd.Series(shown, index=index, dtype=object)
