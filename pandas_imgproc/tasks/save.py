"""Images as the bytes of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pandas_imgproc import codec
from pandas_imgproc.source import paths_to_series
from pandas_imgproc.tasks.base import Task, with_labels

if TYPE_CHECKING:
    import pandas as pd

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


class FileTask(Task):
    """A task whose answers are the bytes of files, which the destination writes; it gives their paths."""

    def allocate(self, n: int) -> Values:
        """Return n times nothing: ndarray of object, shape (n,)."""
        return np.full(n, None, dtype=object)

    def to_pandas(
        self,
        values: Values,
        status: Values,  # noqa: ARG002  the values are missing where there is no answer
        failures: tuple[Failure, ...],
        index: pd.Index[Any],
    ) -> pd.Series[Any]:
        """Return the Series of str named ``path``: the files that were written, missing where there is none."""
        paths = paths_to_series(values, self.index(index)).rename("path")
        paths.attrs["failures"] = with_labels(failures, index)
        return paths


@dataclass(frozen=True)
class SaveResized(FileTask):
    """Each image as the bytes of a file.

    Attributes
    ----------
    decode_options : DecodeOptions
        Everything that changes the pixels.
    encode_options : EncodeOptions
        How they become a file; the row's target says the format where this does not.
    """

    decode_options: codec.DecodeOptions
    encode_options: codec.EncodeOptions
    name: ClassVar[str] = "save_resized"

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the pixels of one row, on their way."""
        return 3 * self.decode_options.nbytes

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the task's
        """Decode one image and encode it into ``out[0]``."""
        image = codec.load(file.data(), self.decode_options)
        out[0] = codec.encode(image, self.encode_options, file.target or "")
