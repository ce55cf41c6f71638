"""Bytes in: what stands in a column becomes an iterator of files, in the order of the rows.

A file that cannot be had is not an error here but a file whose `File.data` raises: the kernel's one ``try``
stands around the row, not around the reading.
"""

from __future__ import annotations

import functools
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._timing import add_bytes_read, timed
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import paths
from pandas_imgproc.source.inputs import FailedInput
from pandas_imgproc.source.local import UNKNOWN_SIGNATURE, FileSignature, read_file, signature_of
from pandas_imgproc.source.paths import ArchiveMember, Location, RemotePath
from pandas_imgproc.source.read_config import ReadConfig
from pandas_imgproc.source.redaction import StorageOptions, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pandas_imgproc.partition import PartitionInput
    from pandas_imgproc.source.prefetch import Prefetcher

MAX_STAT_REQUESTS = 10_000
"""Files that are elsewhere are asked for their stamps up to so many: each takes a request."""


class InputFile:
    """One image before it is decoded.

    Parameters
    ----------
    cell : object
        What stands in the column.
    source : Source
        How a name becomes a path.
    target : str, optional
        Where the answer is written, the first one if there are several.
    """

    __slots__ = ("_cell", "_source", "signature", "target")

    def __init__(self, cell: Any, source: Source, target: str | None = None) -> None:
        self._cell = cell
        self._source = source
        self.target = target
        self.signature = UNKNOWN_SIGNATURE

    @property
    def path(self) -> str:
        """What the failure table calls it."""
        cell = self._cell
        if isinstance(cell, Mapping):
            return redact_url(str(cell.get("path") or "<bytes>"))
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return "<bytes>"
        if isinstance(cell, FailedInput):
            return cell.path
        if isinstance(cell, float) and cell.is_integer():
            cell = int(cell)  # as `paths.to_path_text` reads it
        if isinstance(cell, str | numbers.Integral):
            return redact_url(f"{cell}{self._source.suffix or ''}")
        return redact_url(repr(cell)[:200])

    def data(self) -> Any:
        """Return the encoded bytes, or the array of an image that is in memory already.

        Returns
        -------
        bytes or ndarray of uint8, shape (height, width, channels)

        Raises
        ------
        UnreadableImageError
            With the kind of failure and the reason.
        """
        with timed("read"):
            data, self.signature = self._read()
        return data

    def _read(self) -> tuple[Any, FileSignature]:
        return self._source.data(self._cell)


class _RemoteFile(InputFile):
    """An image that is elsewhere and has been asked for."""

    __slots__ = ("_ahead", "_number")

    def __init__(self, cell: Any, source: Source, target: str | None, ahead: Prefetcher, number: int) -> None:
        super().__init__(cell, source, target)
        self._ahead, self._number = ahead, number

    def _read(self) -> tuple[Any, FileSignature]:
        data, signature = self._ahead.data(self._number)
        add_bytes_read(len(data))
        return _not_empty(data), signature


@dataclass(frozen=True)
class Source:
    """How what stands in a column becomes bytes.

    Attributes
    ----------
    root : str or None
        What relative paths start from, and nothing outside of it is read: a folder, a zip or tar archive, here or a
        URL.
    suffix : str or None
        What is added to each name, for a column of ids.
    folder : str
        The caller's working directory: that of a worker may be another.
    options : StorageOptions
        What only file systems may see.
    schemes : frozenset of str
        The schemes of URLs that are read.
    config : ReadConfig
        How files that are elsewhere are asked for.
    """

    root: str | None = field(default=None, repr=False)  # it may hold a password
    suffix: str | None = None
    folder: str = ""
    options: StorageOptions = field(default_factory=StorageOptions)
    schemes: frozenset[str] = paths.SCHEMES
    config: ReadConfig = field(default_factory=ReadConfig.current, repr=False)

    def __reduce__(self) -> Any:
        return Source, (self.root, self.suffix, self.folder, self.options, self.schemes, self.config)

    @property
    def redacted_root(self) -> str | None:
        """The root without what must not be shown; None where there is none."""
        return None if self.root is None else redact_url(self.root)

    @functools.cached_property
    def resolver(self) -> paths.Resolver | None:
        """What finds names below the root, None where there is none.

        Raises
        ------
        ValueError
            If the root cannot be one.
        """
        return None if self.root is None else paths.make_resolver(self.root, self.folder, self.schemes)

    @functools.cached_property
    def is_local(self) -> bool:
        """Whether a name without a scheme is a file or a member of an archive of this machine."""
        return self.root is None or paths.scheme_of(self.root) in (None, "file")

    @functools.cached_property
    def is_local_dir(self) -> bool:
        """Whether the root is a folder of this machine, or there is none."""
        return self.is_local and not isinstance(self.root and self.resolver and self.resolver("x"), ArchiveMember)

    def read(self, rows: PartitionInput, stopped: Callable[[], bool] | None = None) -> Iterator[tuple[int, InputFile]]:
        """Yield ``(number, file)`` for each row that names an image; missing rows are passed over.

        Parameters
        ----------
        rows : PartitionInput
        stopped : callable, optional
            Whether the caller has given up: files that are elsewhere are not waited for then.
        """
        far = self._remote_inputs(rows.inputs)
        if far:
            yield from self._read_ahead(rows, far, stopped)
            return
        for number, (cell, target) in enumerate(zip(rows.inputs, _targets(rows), strict=True)):
            if cell is not None:
                yield number, InputFile(cell, self, target)

    def _read_ahead(
        self,
        rows: PartitionInput,
        far: list[tuple[int, RemotePath | ArchiveMember]],
        stopped: Callable[[], bool] | None,
    ) -> Iterator[tuple[int, InputFile]]:
        from pandas_imgproc.source.prefetch import Prefetcher, never  # costs an import of asyncio, and is for few

        elsewhere = {number for number, _ in far}
        with Prefetcher(far, _fetch, self.options, self.config, stopped or never) as prefetcher:
            for number, (cell, target) in enumerate(zip(rows.inputs, _targets(rows), strict=True)):
                if number in elsewhere:
                    yield number, _RemoteFile(cell, self, target, prefetcher, number)
                elif cell is not None:
                    yield number, InputFile(cell, self, target)

    def _remote_inputs(self, inputs: Sequence[Any]) -> list[tuple[int, RemotePath | ArchiveMember]]:
        """Return the numbers and the places of the cells that name files that are elsewhere."""
        found: list[tuple[int, RemotePath | ArchiveMember]] = []
        here = self.is_local
        for number, cell in enumerate(inputs):
            if here and isinstance(cell, str) and "://" not in cell:
                continue  # nearly always
            place = self._try_resolve(cell)
            if isinstance(place, RemotePath | ArchiveMember) and _is_far(place):
                found.append((number, place))
        return found

    def is_remote(self, inputs: Sequence[Any]) -> bool:
        """Return whether the first file that cells name is elsewhere, and with it most likely the others."""
        first = next((cell for cell in inputs if cell is not None), None)
        place = self._try_resolve(first)
        return place is not None and _is_far(place)

    def _try_resolve(self, cell: Any) -> Location | None:
        """Return where the file of a cell is; None where the cell has none, or names none."""
        if isinstance(cell, Mapping):
            cell = cell.get("path") if cell.get("bytes") is None else None
        if not isinstance(cell, str | numbers.Number):
            return None
        try:
            return self.resolve(cell)
        except UnreadableImageError:
            return None

    def data(self, cell: Any) -> tuple[Any, FileSignature]:
        """Return the encoded bytes behind a cell, or its array (see `File.data`), and the stamp of the file."""
        if not isinstance(cell, str):  # nearly always it is
            if isinstance(cell, Mapping):
                cell = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
            if isinstance(cell, (bytes, bytearray, memoryview)):
                return _not_empty(bytes(cell)), UNKNOWN_SIGNATURE
            if isinstance(cell, FailedInput):
                raise UnreadableImageError(cell.kind, cell.message)
            if hasattr(cell, "__array_interface__") and not isinstance(cell, np.generic):
                return cell, UNKNOWN_SIGNATURE
        place = self.resolve(cell)
        data, signature = read_file(place) if isinstance(place, str) else self._read_remote(place)
        add_bytes_read(len(data))
        return _not_empty(data), signature

    def _read_remote(self, place: RemotePath | ArchiveMember) -> tuple[bytes, FileSignature]:
        if isinstance(place, ArchiveMember) and isinstance(place.archive, str):
            from pandas_imgproc.source.archive import read_local_member

            return read_local_member(place)
        from pandas_imgproc.source.prefetch import Prefetcher

        with Prefetcher([(0, place)], _fetch, self.options, self.config) as prefetcher:
            return prefetcher.data(0)

    def path(self, cell: Any) -> str | None:
        """Return the path or URL of a cell's file, without what must not be shown; None where it has none."""
        if isinstance(cell, Mapping):
            cell = cell.get("path")
        if isinstance(cell, FailedInput):
            cell = cell.path
        try:
            return paths.display_path(self.resolve(cell))
        except UnreadableImageError:
            return None

    def signature(self, cell: Any) -> FileSignature:
        """Return the stamp that the file of a cell has now; `UNKNOWN_SIGNATURE` where there is none, or it is elsewhere."""
        return _stamp_here(self._try_resolve(cell))

    def signatures(self, inputs: Sequence[Any]) -> list[FileSignature]:
        """Return the stamps that the files of cells have now, without reading them; `UNKNOWN_SIGNATURE` where there is none.

        Files that are elsewhere are asked for at the same time, and not at all where they are very many.
        """
        places = [self._try_resolve(cell) for cell in inputs]
        far = [number for number, place in enumerate(places) if isinstance(place, RemotePath)]
        signatures = [_stamp_here(place) for place in places]
        if far and len(far) <= MAX_STAT_REQUESTS:
            from pandas_imgproc.source.prefetch import remote_signatures

            found = remote_signatures([places[number] for number in far], self.options, self.config)
            for number, signature in zip(far, found, strict=True):
                signatures[number] = signature
        return signatures

    def resolve(self, name: object) -> Location:
        """Return where the file of a name is: with suffix, below root.

        Raises
        ------
        UnreadableImageError
            ``invalid_path`` if it cannot be one, ``outside_root`` if it leads out of root, ``unsupported`` if it is a
            URL of a scheme that is not read.

        Examples
        --------
        >>> Source(root="train", suffix=".jpg").locate(17)
        'train/17.jpg'
        """
        text = paths.to_path_text(name, has_suffix=self.suffix is not None) + (self.suffix or "")
        if "://" in text:
            scheme = paths.scheme_of(text)
            if scheme == "file":
                text = text[7:]
            elif scheme is not None:
                return self._locate_url(text, scheme)
        if self.resolver is not None:
            return self.resolver(text)
        return os.path.join(self.folder, text)

    def _locate_url(self, url: str, scheme: str) -> Location:
        try:
            if self.resolver is None:
                return paths.parse_url(url, scheme, self.schemes)
            if self.is_local:
                raise UnreadableImageError("outside_root", f"it leads out of root={self.redacted_root!r}")
            return self.resolver(url)
        except UnicodeError:  # half of a surrogate pair, or a name of a server that cannot be one
            raise UnreadableImageError("invalid_path", "it cannot be a URL") from None


def _is_far(place: Location) -> bool:
    return isinstance(place.archive if isinstance(place, ArchiveMember) else place, RemotePath)


def _targets(rows: PartitionInput) -> Sequence[str | None]:
    return rows.targets[:: len(rows.targets) // len(rows)] if rows.targets else [None] * len(rows)


async def _fetch(
    place: RemotePath | ArchiveMember, options: StorageOptions, config: ReadConfig
) -> tuple[bytes, FileSignature]:
    from pandas_imgproc.source import archive, prefetch

    if isinstance(place, ArchiveMember):
        return await archive.fetch(place, options, config)
    return await prefetch.fetch(place, options, config)


def _stamp_here(place: Location | None) -> FileSignature:
    path = place.archive if isinstance(place, ArchiveMember) else place
    if not isinstance(path, str):
        return UNKNOWN_SIGNATURE
    try:
        return signature_of(os.stat(path))
    except (OSError, ValueError):
        return UNKNOWN_SIGNATURE


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise UnreadableImageError("empty", "the file has no bytes")
    return data
