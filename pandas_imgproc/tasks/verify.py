"""Task of `verify`: checks that images are complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.errors import FAILURE_KINDS, Failure
from pandas_imgproc.tasks.base import Task, with_labels

if TYPE_CHECKING:
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class Verify(Task):
    """Integrity check of each image, to the last pixel, with `decode_options`."""

    decode_options: codec.DecodeOptions
    name = "verify"

    def check_installed(self) -> None:
        """Do nothing: a process without simplejpeg judges all that it can."""

    def allocate(self, n: int) -> Values:
        """Return n rows of no values: the result is the row's status."""
        return np.zeros((n, 0), dtype=np.uint8)

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Read one image to its end, or raise."""
        codec.verify(file.data(), self.decode_options)

    def to_pandas(
        self,
        values: Values,  # noqa: ARG002  they have no bytes
        status: Values,
        failures: tuple[Failure, ...],
        index: pd.Index[Any],
    ) -> pd.DataFrame:
        """Return the DataFrame ``kind``, ``message``: both missing for a valid image."""
        kinds = [failures[code - 1]["kind"] if code > 0 else None for code in status]
        messages = [failures[code - 1]["message"] if code > 0 else None for code in status]
        columns = {
            "kind": pd.Categorical(kinds, categories=list(FAILURE_KINDS)),
            "message": pd.array(messages, dtype="string"),
        }
        frame = pd.DataFrame(columns, index=index)
        frame.attrs["failures"] = with_labels(failures, index)
        return frame
