"""Tasks of `download` and `upload`: files as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import CopiedFile
from pandas_imgproc.tasks.save import FileTask

if TYPE_CHECKING:
    from pandas_imgproc.source import InputFile
    from pandas_imgproc.tasks.base import Values


@dataclass(frozen=True)
class Download(FileTask):
    """Bytes of each file, not decoded."""

    name = "download"
    is_copy = True

    def fill(self, out: Values, position: int, file: InputFile) -> None:  # noqa: ARG002  the interface's
        """Read one file into ``out[0]``, unless an output holds it."""
        data = file.data()
        if not isinstance(data, bytes | CopiedFile):
            raise UnreadableImageError("unsupported", "it is an image in memory, not a file; write it with .img.save")
        out[0] = data


@dataclass(frozen=True)
class Upload(Download):
    """Bytes of the files for a bucket; one that `download` has written there is finished for `upload`, too."""

    name = "upload"

    def fingerprint(self) -> dict[str, Any]:
        """Return the parameters of `Download`."""
        return Download().fingerprint()
