"""Files as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.tasks.save import FileTask

if TYPE_CHECKING:
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class Download(FileTask):
    """The bytes of each file; nothing is decoded."""

    name: ClassVar[str] = "download"

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the task's
        """Read one file."""
        data = file.data()
        if not isinstance(data, bytes):
            raise UnreadableImageError("unsupported", "it is an image in memory, not a file; write it with .img.save")
        out[0] = data
