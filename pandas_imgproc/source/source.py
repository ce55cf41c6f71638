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

from pandas_imgproc._timing import count_read, stage
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import paths
from pandas_imgproc.source.inputs import Unreadable
from pandas_imgproc.source.local import NO_STAMP, Stamp, read_file, stamp_of
from pandas_imgproc.source.paths import Far, Member, Place
from pandas_imgproc.source.read_config import Patience
from pandas_imgproc.source.redaction import Options, redacted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pandas_imgproc.partition import Rows
    from pandas_imgproc.source.prefetch import Ahead

ASKED = 10_000
"""Files that are elsewhere are asked for their stamps up to so many: each takes a request."""


class File:
    """One picture before it is decoded.

    Parameters
    ----------
    cell : object
        What stands in the column.
    source : Source
        How a name becomes a path.
    target : str, optional
        Where the answer is written, the first one if there are several.
    """

    __slots__ = ("_cell", "_source", "stamp", "target")

    def __init__(self, cell: Any, source: Source, target: str | None = None) -> None:
        self._cell = cell
        self._source = source
        self.target = target
        self.stamp = NO_STAMP

    @property
    def path(self) -> str:
        """What the failure table calls it."""
        cell = self._cell
        if isinstance(cell, Mapping):
            return redacted_name(str(cell.get("path") or "<bytes>"))
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return "<bytes>"
        if isinstance(cell, Unreadable):
            return cell.path
        if isinstance(cell, float) and cell.is_integer():
            cell = int(cell)  # as `paths.text_of` reads it
        if isinstance(cell, str | numbers.Integral):
            return redacted_name(f"{cell}{self._source.suffix or ''}")
        return redacted_name(repr(cell)[:200])

    def data(self) -> Any:
        """Return the encoded bytes, or the array of a picture that is in memory already.

        Returns
        -------
        bytes or ndarray of uint8, shape (height, width, channels)

        Raises
        ------
        UnreadableImageError
            With the kind of failure and the reason.
        """
        with stage("read"):
            data, self.stamp = self._read()
        return data

    def _read(self) -> tuple[Any, Stamp]:
        return self._source.data(self._cell)


class _FarFile(File):
    """A picture that is elsewhere and has been asked for."""

    __slots__ = ("_ahead", "_number")

    def __init__(self, cell: Any, source: Source, target: str | None, ahead: Ahead, number: int) -> None:
        super().__init__(cell, source, target)
        self._ahead, self._number = ahead, number

    def _read(self) -> tuple[Any, Stamp]:
        data, stamp = self._ahead.data(self._number)
        count_read(len(data))
        return _not_empty(data), stamp


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
    options : Options
        What only file systems may see.
    schemes : frozenset of str
        The schemes of URLs that are read.
    patience : Patience
        How files that are elsewhere are asked for.
    """

    root: str | None = field(default=None, repr=False)  # it may hold a password
    suffix: str | None = None
    folder: str = ""
    options: Options = field(default_factory=Options)
    schemes: frozenset[str] = paths.SCHEMES
    patience: Patience = field(default_factory=Patience.current, repr=False)

    def __reduce__(self) -> Any:
        return Source, (self.root, self.suffix, self.folder, self.options, self.schemes, self.patience)

    @property
    def shown_root(self) -> str | None:
        """The root without what must not be shown; None where there is none."""
        return None if self.root is None else redacted_name(self.root)

    @functools.cached_property
    def top(self) -> paths.Locate | None:
        """What finds names below the root, None where there is none.

        Raises
        ------
        ValueError
            If the root cannot be one.
        """
        return None if self.root is None else paths.top(self.root, self.folder, self.schemes)

    @functools.cached_property
    def is_here(self) -> bool:
        """Whether a name without a scheme is a file or a member of an archive of this machine."""
        return self.root is None or paths.scheme_of(self.root) in (None, "file")

    @functools.cached_property
    def is_folder(self) -> bool:
        """Whether the root is a folder of this machine, or there is none."""
        return self.is_here and not isinstance(self.root and self.top and self.top("x"), Member)

    def read(self, rows: Rows, stopped: Callable[[], bool] | None = None) -> Iterator[tuple[int, File]]:
        """Yield ``(number, file)`` for each row that names a picture; missing rows are passed over.

        Parameters
        ----------
        rows : Rows
        stopped : callable, optional
            Whether the caller has given up: files that are elsewhere are not waited for then.
        """
        far = self._far(rows.cells)
        if far:
            yield from self._read_ahead(rows, far, stopped)
            return
        for number, (cell, target) in enumerate(zip(rows.cells, _targets(rows), strict=True)):
            if cell is not None:
                yield number, File(cell, self, target)

    def _read_ahead(
        self, rows: Rows, far: list[tuple[int, Far | Member]], stopped: Callable[[], bool] | None
    ) -> Iterator[tuple[int, File]]:
        from pandas_imgproc.source.prefetch import Ahead, never  # costs an import of asyncio, and is for few

        elsewhere = {number for number, _ in far}
        with Ahead(far, _fetch, self.options, self.patience, stopped or never) as prefetcher:
            for number, (cell, target) in enumerate(zip(rows.cells, _targets(rows), strict=True)):
                if number in elsewhere:
                    yield number, _FarFile(cell, self, target, prefetcher, number)
                elif cell is not None:
                    yield number, File(cell, self, target)

    def _far(self, cells: Sequence[Any]) -> list[tuple[int, Far | Member]]:
        """Return the numbers and the places of the cells that name files that are elsewhere."""
        found: list[tuple[int, Far | Member]] = []
        here = self.is_here
        for number, cell in enumerate(cells):
            if here and isinstance(cell, str) and "://" not in cell:
                continue  # nearly always
            place = self._place(cell)
            if isinstance(place, Far | Member) and _is_far(place):
                found.append((number, place))
        return found

    def is_elsewhere(self, cells: Sequence[Any]) -> bool:
        """Return whether the first file that cells name is elsewhere, and with it most likely the others."""
        first = next((cell for cell in cells if cell is not None), None)
        place = self._place(first)
        return place is not None and _is_far(place)

    def _place(self, cell: Any) -> Place | None:
        """Return where the file of a cell is; None where the cell has none, or names none."""
        if isinstance(cell, Mapping):
            cell = cell.get("path") if cell.get("bytes") is None else None
        if not isinstance(cell, str | numbers.Number):
            return None
        try:
            return self.locate(cell)
        except UnreadableImageError:
            return None

    def data(self, cell: Any) -> tuple[Any, Stamp]:
        """Return the encoded bytes behind a cell, or its array (see `File.data`), and the stamp of the file."""
        if not isinstance(cell, str):  # nearly always it is
            if isinstance(cell, Mapping):
                cell = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
            if isinstance(cell, (bytes, bytearray, memoryview)):
                return _not_empty(bytes(cell)), NO_STAMP
            if isinstance(cell, Unreadable):
                raise UnreadableImageError(cell.kind, cell.message)
            if hasattr(cell, "__array_interface__") and not isinstance(cell, np.generic):
                return cell, NO_STAMP
        place = self.locate(cell)
        data, stamp = read_file(place) if isinstance(place, str) else self._elsewhere(place)
        count_read(len(data))
        return _not_empty(data), stamp

    def _elsewhere(self, place: Far | Member) -> tuple[bytes, Stamp]:
        if isinstance(place, Member) and isinstance(place.archive, str):
            from pandas_imgproc.source.archive import read_here

            return read_here(place)
        from pandas_imgproc.source.prefetch import Ahead

        with Ahead([(0, place)], _fetch, self.options, self.patience) as prefetcher:
            return prefetcher.data(0)

    def path(self, cell: Any) -> str | None:
        """Return the path or URL of a cell's file, without what must not be shown; None where it has none."""
        if isinstance(cell, Mapping):
            cell = cell.get("path")
        if isinstance(cell, Unreadable):
            cell = cell.path
        try:
            return paths.path_of(self.locate(cell))
        except UnreadableImageError:
            return None

    def stamp(self, cell: Any) -> Stamp:
        """Return the stamp that the file of a cell has now; `NO_STAMP` where there is none, or it is elsewhere."""
        return _stamp_here(self._place(cell))

    def stamps(self, cells: Sequence[Any]) -> list[Stamp]:
        """Return the stamps that the files of cells have now, without reading them; `NO_STAMP` where there is none.

        Files that are elsewhere are asked for at the same time, and not at all where they are very many.
        """
        places = [self._place(cell) for cell in cells]
        far = [number for number, place in enumerate(places) if isinstance(place, Far)]
        stamps = [_stamp_here(place) for place in places]
        if far and len(far) <= ASKED:
            from pandas_imgproc.source.prefetch import stamps_of

            found = stamps_of([places[number] for number in far], self.options, self.patience)
            for number, stamp in zip(far, found, strict=True):
                stamps[number] = stamp
        return stamps

    def locate(self, name: object) -> Place:
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
        text = paths.text_of(name, has_suffix=self.suffix is not None) + (self.suffix or "")
        if "://" in text:
            scheme = paths.scheme_of(text)
            if scheme == "file":
                text = text[7:]
            elif scheme is not None:
                return self._locate_url(text, scheme)
        if self.top is not None:
            return self.top(text)
        return os.path.join(self.folder, text)

    def _locate_url(self, url: str, scheme: str) -> Place:
        try:
            if self.top is None:
                return paths.far(url, scheme, self.schemes)
            if self.is_here:
                raise UnreadableImageError("outside_root", f"it leads out of root={self.shown_root!r}")
            return self.top(url)
        except UnicodeError:  # half of a surrogate pair, or a name of a server that cannot be one
            raise UnreadableImageError("invalid_path", "it cannot be a URL") from None


def _is_far(place: Place) -> bool:
    return isinstance(place.archive if isinstance(place, Member) else place, Far)


def _targets(rows: Rows) -> Sequence[str | None]:
    return rows.targets[:: len(rows.targets) // len(rows)] if rows.targets else [None] * len(rows)


async def _fetch(place: Far | Member, options: Options, patience: Patience) -> tuple[bytes, Stamp]:
    from pandas_imgproc.source import archive, prefetch

    if isinstance(place, Member):
        return await archive.fetch(place, options, patience)
    return await prefetch.fetch(place, options, patience)


def _stamp_here(place: Place | None) -> Stamp:
    path = place.archive if isinstance(place, Member) else place
    if not isinstance(path, str):
        return NO_STAMP
    try:
        return stamp_of(os.stat(path))
    except (OSError, ValueError):
        return NO_STAMP


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise UnreadableImageError("empty", "the file has no bytes")
    return data
