"""Tasks that encode images as files."""

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
    """Task whose results are the bytes of files, which the sink writes; the Series holds their paths."""

    is_copy: ClassVar[bool] = False
    """Whether the files are those of the source, as they are: large ones are copied in blocks."""

    def allocate(self, n: int) -> Values:
        """Return an array of None: ndarray of object, shape (n,)."""
        return np.full(n, None, dtype=object)

    def to_pandas(
        self,
        values: Values,
        status: Values,  # noqa: ARG002  values are None where a row has no result
        failures: tuple[Failure, ...],
        index: pd.Index[Any],
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return the Series of str named ``path``: the written files, missing where a row has none."""
        paths = paths_to_series(values, self.index(index)).rename("path")
        paths.attrs["failures"] = with_labels(failures, paths.index, self.n_outputs)
        return paths


@dataclass(frozen=True)
class SaveResized(FileTask):
    """Encoded file of each image; the row's output path implies a format that `encode_options` do not have."""

    decode_options: codec.DecodeOptions
    encode_options: codec.EncodeOptions
    name = "save_resized"
    releases_gil = True

    @property
    def nbytes_per_row(self) -> int:
        """Bytes of the decoded, the resized and the encoded image."""
        return 3 * self.decode_options.nbytes

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Decode one image and write the encoded file into ``out[0]``."""
        image = codec.load(file.data(), self.decode_options)
        out[0] = codec.encode(image, self.encode_options, file.target or "")


@dataclass(frozen=True)
class SaveThumbnails(SaveResized):
    """Encoded file of each image in a box, by the method of that name."""

    name = "save_thumbnails"

    def fingerprint(self) -> dict[str, Any]:
        """Return the parameters as JSON-serializable values: those of `SaveResized`, which writes the same files."""
        return super().fingerprint() | {"method": SaveResized.name}
