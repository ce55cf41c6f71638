"""Files of a row, as a task reads them: one image, a region of it, or those of several columns."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pandas_imgproc._text import shorten
from pandas_imgproc._timing import timed
from pandas_imgproc.regions import RegionData
from pandas_imgproc.source.inputs import FailedInput, RowInputs, describe_input
from pandas_imgproc.source.local import UNKNOWN_SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pandas_imgproc.regions import Region
    from pandas_imgproc.source.filesystems import ReadResult
    from pandas_imgproc.source.shared_files import SharedFile
    from pandas_imgproc.source.source import Source

    Convert = Callable[[str, Any], Any]


class InputFile:
    """Image of one row before it is decoded.

    Parameters
    ----------
    value : object
        Value of the column.
    source : Source
        Source that resolves and reads the value.
    target : str, optional
        Path that the task writes; the first one if there are several.
    fetch : callable, optional
        Function that returns the bytes and the signature of a prefetched file.
    region : tuple of (Region, SharedFile), optional
        Region of the row, and its file, which other rows may share.
    """

    __slots__ = ("_fetch", "_region", "_source", "_value", "columns", "convert", "i", "signature", "target")

    def __init__(
        self,
        value: Any,
        source: Source,
        target: str | None = None,
        fetch: Callable[[], ReadResult] | None = None,
        region: tuple[Region, SharedFile] | None = None,
    ) -> None:
        self._value, self._source, self.target, self._fetch, self._region = value, source, target, fetch, region
        self.signature = UNKNOWN_SIGNATURE  # until `data` has read the file
        self.columns: Any = None  # frame of the partition, for functions that use other columns too
        self.i = 0  # row of `columns`
        self.convert: Convert | None = None  # of the file's name and bytes, for formats of the user

    @property
    def path(self) -> str:
        """Name of the file in the failure table."""
        value = self._value.values[0] if isinstance(self._value, RowInputs) else self._value
        if isinstance(value, Mapping):
            path = value.get("path")
            return self._source.redact_name(str(path)) if path else describe_input(value["bytes"])
        if isinstance(value, FailedInput):
            return value.path
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # as `paths.to_path_text` reads it
        if isinstance(value, str):
            return self._source.redact_name(value + (self._source.suffix or ""))
        if isinstance(value, int):
            return f"{shorten(value)}{self._source.suffix or ''}"
        return describe_input(value)

    def data(self) -> Any:
        """Return the encoded bytes, or the array of an image in memory, or a region of either.

        Returns
        -------
        bytes, CopiedFile, CustomFile, ndarray of uint8, shape (height, width, channels), or RegionData

        Raises
        ------
        UnreadableImageError
            With the kind of failure and the reason.
        """
        with timed("read"):
            read = self._source.data(self._value) if self._fetch is None else self._fetch()
        data, self.signature = read
        if self._region is None:
            return data if self.convert is None else self.convert(self.path, data)
        region, shared = self._region
        if self.convert is not None:
            data = shared.converted(functools.partial(self.convert, self.path, data))
        return RegionData(data, region, shared.memo, shared.opened)


class InputFileGroup:
    """Images of one row, of several columns.

    Parameters
    ----------
    files : list of InputFile
    """

    signature = UNKNOWN_SIGNATURE  # there is one for a row, and not for each file

    def __init__(self, files: list[InputFile]) -> None:
        self._files, self._current = files, files[0]
        self.columns: Any = None
        self.i = 0
        self.targets: Sequence[str | None] = ()  # paths that the task writes

    def __iter__(self) -> Iterator[InputFile]:
        for file in self._files:
            self._current = file
            yield file

    @property
    def path(self) -> str:
        """Name of the file that was read last, in the failure table."""
        return self._current.path
