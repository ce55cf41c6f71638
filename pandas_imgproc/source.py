"""Bytes in: what stands in a column becomes an iterator of files, in the order of the rows.

A file that cannot be had is not an error here but a file whose `File.data` raises: the kernel's one ``try``
stands around the row, not around the reading.
"""

from __future__ import annotations

import errno
import numbers
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.stages import stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.errors import FailureKind
    from pandas_imgproc.rows import Rows

MAX_FILE_BYTES = 2**30
"""A file of more bytes is `too_large`: a worker reads it whole, and a sparse file may claim any size."""

Stamp = tuple[int, int]
NO_STAMP: Stamp = (-1, -1)

# The disk or the network failed, not the path.
_FAILED = {errno.EIO, errno.ESTALE, errno.ECONNRESET, errno.EHOSTDOWN, errno.EREMOTEIO, errno.ENOTCONN}

_REASONS: dict[type[OSError], tuple[FailureKind, str]] = {
    FileNotFoundError: ("missing", "there is no such file"),
    NotADirectoryError: ("missing", "a part of its path is a file, not a folder"),
    PermissionError: ("permission", "it may not be read by this user"),
    IsADirectoryError: ("not_a_file", "it is a folder"),
}


@dataclass(frozen=True)
class Unreadable:
    """What stands in an image column where there was no picture: the reason goes on."""

    path: str
    kind: FailureKind
    message: str


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
            return str(cell.get("path") or "<bytes>")
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return "<bytes>"
        if isinstance(cell, Unreadable):
            return cell.path
        if isinstance(cell, str | numbers.Integral):
            return f"{cell}{self._source.suffix or ''}"
        return repr(cell)[:200]

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
            data, self.stamp = self._source.data(self._cell)
        return data


@dataclass(frozen=True)
class Source:
    """How what stands in a column becomes bytes.

    Attributes
    ----------
    root : str or None
        The folder that relative paths start from; nothing outside of it is read.
    suffix : str or None
        What is added to each name, for a column of ids.
    folder : str
        The caller's working directory: that of a worker may be another.
    """

    root: str | None = None
    suffix: str | None = None
    folder: str = ""

    def read(self, rows: Rows) -> Iterator[tuple[int, File]]:
        """Yield ``(number, file)`` for each row that names a picture; missing rows are passed over."""
        targets = rows.targets[:: len(rows.targets) // len(rows)] if rows.targets else [None] * len(rows)
        for number, (cell, target) in enumerate(zip(rows.cells, targets, strict=True)):
            if cell is not None:
                yield number, File(cell, self, target)

    def data(self, cell: Any) -> tuple[Any, Stamp]:
        """Return the encoded bytes behind a cell, or its array (see `File.data`), and the stamp of the file."""
        if isinstance(cell, Mapping):
            cell = cell.get("path") if cell.get("bytes") is None else cell["bytes"]
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return _not_empty(bytes(cell)), NO_STAMP
        if isinstance(cell, Unreadable):
            raise UnreadableImageError(cell.kind, cell.message)
        if hasattr(cell, "__array_interface__") and not isinstance(cell, np.generic):
            return cell, NO_STAMP
        data, stamp = read_file(self.locate(cell))
        return _not_empty(data), stamp

    def path(self, cell: Any) -> str | None:
        """Return the path of a cell; None where it has none, or none that can be one."""
        if isinstance(cell, Mapping):
            cell = cell.get("path")
        if isinstance(cell, Unreadable):
            cell = cell.path
        try:
            return self.locate(cell)
        except UnreadableImageError:
            return None

    def stamp(self, cell: Any) -> Stamp:
        """Return the stamp that the file of a cell has now, without reading it; `NO_STAMP` where there is none."""
        if isinstance(cell, Mapping):
            cell = cell.get("path") if cell.get("bytes") is None else None
        try:
            return stamp_of(os.stat(self.locate(cell)))
        except (OSError, ValueError):
            return NO_STAMP

    def locate(self, name: object) -> str:
        """Return the path of a name: with suffix, below root.

        Raises
        ------
        UnreadableImageError
            ``invalid_path`` if it cannot be one, ``outside_root`` if it leads out of root.

        Examples
        --------
        >>> Source(root="train", suffix=".jpg").locate(17)
        'train/17.jpg'
        """
        text = _text(name, has_suffix=self.suffix is not None) + (self.suffix or "")
        scheme, separator, rest = text.partition("://")
        if separator and scheme == "file":
            text = rest
        elif separator and scheme.isalnum():
            raise UnreadableImageError("unsupported", f"{scheme}:// is not a folder of this machine; download it first")
        if self.root is not None:
            return _below(os.path.join(self.folder, self.root), text)
        return os.path.join(self.folder, text)


def _text(name: object, *, has_suffix: bool) -> str:
    if isinstance(name, str):
        if not name.strip():
            raise UnreadableImageError("invalid_path", "the path is an empty text")
        if "\0" in name:
            raise UnreadableImageError("invalid_path", "the path holds a NUL character")
        return name
    if has_suffix and isinstance(name, numbers.Integral):
        return str(name)
    if has_suffix and isinstance(name, float) and name.is_integer():
        return str(int(name))  # pandas makes floats of a column of ids with a hole
    kind = type(name).__name__
    raise UnreadableImageError("invalid_path", f"a path, URL or bytes was expected, not {kind} {name!r:.100}")


def _below(root: str, name: str) -> str:
    path = os.path.join(root, name)
    try:
        inside = os.path.realpath(path)
    except (OSError, ValueError) as exc:
        raise UnreadableImageError("invalid_path", f"the path cannot be followed: {exc}") from exc
    top = os.path.realpath(root)
    if not inside.startswith(top.rstrip(os.sep) + os.sep):
        raise UnreadableImageError("outside_root", f"it leads out of root={root!r}")
    return path


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise UnreadableImageError("empty", "the file has no bytes")
    return data


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what tells a file from a later one of the same name."""
    return status.st_size, status.st_mtime_ns


def read_file(path: str) -> tuple[bytes, Stamp]:
    """Return the bytes of a file of this machine, and its stamp.

    Raises
    ------
    UnreadableImageError
        With one of the kinds missing, permission, not_a_file, invalid_path, too_large, remote.
    """
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer for ever.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            status = os.fstat(fd)
            _check_regular(status)
            with open(fd, "rb", buffering=0, closefd=False) as file:
                return file.readall(), stamp_of(status)
        finally:
            os.close(fd)
    except OSError as exc:
        if isinstance(exc, UnreadableImageError):
            raise
        raise _unreadable(exc) from exc
    except ValueError as exc:  # among them UnicodeEncodeError, for half of a surrogate pair
        raise UnreadableImageError("invalid_path", f"it cannot be a path: {exc}") from exc


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImageError("not_a_file", "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("not_a_file", "it is a pipe, a socket or a device")
    if status.st_size > MAX_FILE_BYTES:
        raise UnreadableImageError("too_large", f"it has {status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")


def _unreadable(exc: OSError) -> UnreadableImageError:
    for known, reason in _REASONS.items():
        if isinstance(exc, known):
            return UnreadableImageError(*reason)
    kind: FailureKind = "remote" if exc.errno in _FAILED else "invalid_path"
    return UnreadableImageError(kind, f"it could not be opened: {exc.strerror or exc}")


def cells(column: pd.Series[Any]) -> list[Any]:
    """Return what stands in a column as plain Python values, None where missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> cells(pd.Series([Path("a.jpg"), None, float("nan"), 7], dtype=object))
    ['a.jpg', None, None, 7]
    """
    values = column.to_numpy(dtype=object)
    missing = column.isna().to_numpy()
    return [None if na else _plain(value) for value, na in zip(values, missing, strict=True)]


def paths_as_column(paths: Sequence[str] | np.ndarray[Any, Any], index: Any = None) -> pd.Series[Any]:
    """Return paths as a column of str, or of objects where a name is none that Arrow can hold: it is of bytes."""
    try:
        return pd.Series(paths, index=index, dtype="str")
    except UnicodeEncodeError:
        return pd.Series(paths, index=index, dtype=object)


def has_bytes(cell: Any) -> bool:
    """Return whether a cell holds a picture, rather than the name of one."""
    if isinstance(cell, Mapping):
        return cell.get("bytes") is not None
    return isinstance(cell, bytes | bytearray | memoryview) or (
        hasattr(cell, "__array_interface__") and not isinstance(cell, np.generic)
    )


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value
