"""Files of which a partition has several rows: each is read once, and decoded once for each of its frames."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

from pandas_imgproc._timing import add_bytes_read
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.partition import as_position_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.partition import PartitionInput
    from pandas_imgproc.source.filesystems import ReadResult
    from pandas_imgproc.source.local import FileSignature
    from pandas_imgproc.source.prefetch import Prefetcher
    from pandas_imgproc.source.read_control import ReadControl
    from pandas_imgproc.source.source import Source

MAX_HELD_NBYTES = 2**28
"""Bytes of the files and images of a partition that are held for later rows, besides those of the current row."""


class _Outcome:
    """Value of a function, or its exception, which is raised again for each row."""

    __slots__ = ("_error", "_value")

    def __init__(self, function: Callable[[], Any]) -> None:
        self._value: Any = None
        self._error: Exception | None = None
        try:
            self._value = function()
        except Exception as exc:  # any error of a decoder
            self._error = exc

    def get(self) -> Any:
        """Return the value, or raise the exception."""
        if self._error is not None:
            raise self._error.with_traceback(None)  # or the traceback would grow with each row
        return self._value

    @property
    def nbytes(self) -> int:
        """Bytes of the value: those of a file, or of a decoded image."""
        if hasattr(self._value, "nbytes"):
            return int(self._value.nbytes)
        data = self._value[0] if isinstance(self._value, tuple) else self._value
        return len(data) if isinstance(data, bytes) else getattr(data, "nbytes", 0)


class SharedFile:
    """File of several rows of a partition.

    Parameters
    ----------
    read : callable
        Function that returns the bytes and the signature of the file.
    n_rows : int
        Number of rows that will be processed.
    """

    def __init__(self, read: Callable[[], ReadResult], n_rows: int) -> None:
        self.read_again, self.n_rows = read, n_rows
        self._file: _Outcome | None = None
        self._converted: Any = None
        self.opened: list[Any] = []
        self._image: tuple[Any, _Outcome] | None = None  # of one key: rows of a frame are neighbors

    def read(self) -> ReadResult:
        """Return the bytes and the signature of the file."""
        if self._file is None:
            self._file = _Outcome(self.read_again)
        result: ReadResult = self._file.get()
        return result

    def converted(self, convert: Callable[[], Any]) -> Any:
        """Return the value of a function of the bytes, or that of an earlier call."""
        if self._converted is None:
            self._converted = convert()
        return self._converted

    def memo(self, key: Any, function: Callable[[], Any]) -> Any:
        """Return the value of a function, or that of an earlier call for the same key."""
        if self._image is None or self._image[0] != key:
            self._image = None  # two decoded images are not held at a time
            self._image = (key, _Outcome(function))
        return self._image[1].get()

    def drop(self) -> None:
        """Drop the bytes and the image; the next row has them read again."""
        self._file = self._image = self._converted = None
        self.opened = []

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        outcomes = (self._file, None if self._image is None else self._image[1])
        return sum(outcome.nbytes for outcome in outcomes if outcome is not None)


class SharedFiles:
    """Files of a partition by number, each dropped after its last row, or if those of earlier rows are too large.

    Parameters
    ----------
    numbers : list of int
        Number of the file of each row that will be processed.
    """

    def __init__(self, numbers: list[int]) -> None:
        self._n_rows = Counter(numbers)
        self._files: dict[int, SharedFile] = {}  # in the order of their latest use

    def next_row(self, number: int, read: Callable[[], ReadResult]) -> SharedFile:
        """Return the file of the next row; `read` reads it, unless it is held."""
        file = self._files.pop(number, None)
        if file is None:
            file = SharedFile(read, self._n_rows[number])
        else:
            file.read_again = read
        for finished in [k for k, other in self._files.items() if not other.n_rows]:
            del self._files[finished]
        self._files[number] = file
        file.n_rows -= 1
        excess = sum(other.nbytes for other in self._files.values()) - file.nbytes - MAX_HELD_NBYTES
        for other in list(self._files.values())[:-1]:
            if excess <= 0:
                break
            excess -= other.nbytes
            other.drop()
        return file


def shared_rows(
    source: Source, partition: PartitionInput, control: ReadControl, block_rows: int | None
) -> Iterator[tuple[int, SharedFile]]:
    """Yield ``(i, file)`` for each row of a partition of regions that names an image, image by image.

    With `block_rows` only regions of the same block of so many positions are brought together.
    """
    assert partition.regions is not None
    inputs, blocks = partition.inputs, None
    if block_rows is not None:
        blocks = as_position_array(partition.positions) // block_rows
    rows = [i for i in partition.regions.work_order(blocks).tolist() if inputs[i] is not None]
    numbers = partition.regions.files[rows].tolist()
    files, first = SharedFiles(numbers), {number: k for k, number in reversed(list(enumerate(numbers)))}
    remote = source.remote_inputs([inputs[i] if first[numbers[k]] == k else None for k, i in enumerate(rows)])
    with source.prefetcher(remote, control) if remote else contextlib.nullcontext() as prefetcher:
        for k, i in enumerate(rows):
            read: Callable[[], ReadResult] = functools.partial(source.data, inputs[i])
            if prefetcher is not None and k in remote:
                read = prefetched(prefetcher, k)
            yield i, files.next_row(numbers[k], read)


def prefetched(prefetcher: Prefetcher, number: int) -> Callable[[], ReadResult]:
    """Return a function that returns the bytes and the signature of a prefetched file."""
    return functools.partial(_read_prefetched, prefetcher, number)


def _read_prefetched(prefetcher: Prefetcher, number: int) -> ReadResult:
    return checked(*prefetcher.read(number))


def checked(data: bytes, signature: FileSignature) -> ReadResult:
    """Count the bytes of a file that was read, and return it; raise an UnreadableImageError if it has none."""
    add_bytes_read(len(data))
    return check_not_empty(data), signature


def check_not_empty(data: bytes) -> bytes:
    """Return the bytes of a file; raise an UnreadableImageError if there are none."""
    if not data:
        raise UnreadableImageError("empty", "the file has no bytes")
    return data
