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
    """Thumbnail of each image, never enlarged.

    Attributes
    ----------
    decode_options : DecodeOptions
        Of mode "RGBA" or "P", with ``fit="thumbnail"``.
    has_full_size : bool
        Whether the size of each image is a result too.
    """

    decode_options: codec.DecodeOptions
    has_full_size: bool = False
    name = "show"

    def allocate(self, n: int) -> Values:
        """Return a structured array of n rows: height and width, those of the image, and pixels of the largest size."""
        assert self.decode_options.size is not None
        width, height = self.decode_options.size
        shape = height, width, codec.CHANNELS[self.decode_options.mode]
        return np.zeros(n, dtype=[("size", "u2", (2,)), ("full_size", "u4", (2,)), ("pixels", "u1", shape)])

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Decode one image into ``out[0]``."""
        data = file.data()
        pixels = np.atleast_3d(np.asarray(codec.load(data, self.decode_options)))
        out["size"][0] = pixels.shape[:2]
        if self.has_full_size:
            out["full_size"][0] = codec.read_upright_size(data, self.decode_options)
        out["pixels"][0, : pixels.shape[0], : pixels.shape[1]] = pixels

    def to_pandas(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any]:
        """Return a Series of pixels, of the Failure of a row that has one, or of None.

        Its ``attrs["full_sizes"]`` has width and height of each image, if they are results.
        """
        tiles: list[Any] = [
            row["pixels"][: row["size"][0], : row["size"][1]] if code == 0 else failures[code - 1] if code > 0 else None
            for row, code in zip(values, status, strict=True)
        ]
        result = pd.Series(tiles, index=index, dtype=object)
        if self.has_full_size:
            result.attrs["full_sizes"] = values["full_size"].tolist()
        return result
