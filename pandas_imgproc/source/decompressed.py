"""Compressed tar archives: one sequential pass writes the plain tar to disk, whose members are then read in place.

The plain tar is a hidden file beside the archive, or in the folder of the configuration, named by the size and the time
of modification of the archive: the next call and every worker find it, and another version of the archive replaces it.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import logging
import lzma
import os
import re
import shutil
import sys
import time
import zlib
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from pandas_imgproc._atomic import atomic_write
from pandas_imgproc._uninterrupted import import_atomically
from pandas_imgproc.config import setting
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.local import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.source.read_config import ReadConfig

logger = logging.getLogger("pandas_imgproc")

MAX_RATIO = 100
"""Bytes that a byte of an archive may become: images hardly shrink, and a bomb grows a thousandfold."""

MIN_BOUND_NBYTES = 2**30
"""Bytes that any archive may become."""

_CHUNK_NBYTES = 2**20
_MAX_NAME_BYTES = 180
_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda file: pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"),
}
"""Readers of decompressed bytes by the first bytes of a file."""

_READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)


def is_compressed(file: IO[bytes]) -> bool:
    """Return whether a file is compressed as a whole; it is at its beginning before and after."""
    head = file.read(8)
    file.seek(0)
    return head.startswith(tuple(_OPENERS))


def open_decompressed(file: IO[bytes]) -> Any:
    """Return a reader of the decompressed bytes of a compressed file."""
    head = file.read(8)
    file.seek(0)
    return next(opener for magic, opener in _OPENERS.items() if head.startswith(magic))(file)


def read_chunks(reader: Any, n: int = _CHUNK_NBYTES) -> Iterator[bytes]:
    """Yield the bytes of a reader, or raise an UnreadableImageError if they cannot be decompressed."""
    while True:
        try:
            chunk = reader.read(n)
        except EOFError as exc:
            raise UnreadableImageError("truncated", f"the archive cannot be read: {exc}") from exc
        except _READ_ERRORS as exc:
            raise UnreadableImageError("corrupt", f"the archive cannot be read: {exc}") from exc
        if not chunk:
            return
        yield chunk


def unpacked_bound(size: int) -> int:
    """Return the bytes that an archive of so many bytes may become; more is a bomb."""
    return max(MAX_RATIO * size, MIN_BOUND_NBYTES)


def plain_archive(path: str, config: ReadConfig) -> str:
    """Return the path of an archive whose members can be read in place: its own, or that of the decompressed tar.

    Raises
    ------
    UnreadableImageError
        If the archive is damaged, or would become larger than the configuration allows.
    OSError
        If the archive cannot be read, or the tar cannot be written.
    """
    with open(path, "rb") as file:
        if not is_compressed(file):
            return path
        target = _target(path, os.fstat(file.fileno()), config.archive_cache)
        if not os.path.exists(target):
            with _locked(file):
                if not os.path.exists(target):  # another process may have written it during the wait for the lock
                    _announce_and_decompress(file, path, target, config)
        return target


def _target(path: str, status: os.stat_result, folder: str | None) -> str:
    """Return the path of the plain tar of an archive."""
    size, mtime = signature_of(status)
    name = os.path.basename(path)
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = f"{zlib.crc32(os.fsencode(name)):08x}"
    if folder is None:
        return os.path.join(os.path.dirname(path), f".{name}.{size:x}-{mtime:x}.tar")
    key = zlib.crc32(os.fsencode(os.path.realpath(path)))  # archives of several folders may have one name
    return os.path.join(folder, f".{name}.{key:08x}.{size:x}-{mtime:x}.tar")


@contextlib.contextmanager
def _locked(file: IO[bytes]) -> Iterator[None]:
    """Lock the archive for a block, where the file system can do so: two copies are only a waste."""
    with contextlib.suppress(OSError):
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
    yield  # the lock ends when the file is closed


def _announce_and_decompress(file: IO[bytes], path: str, target: str, config: ReadConfig) -> None:
    size, folder = os.fstat(file.fileno()).st_size, os.path.dirname(target) or "."
    free = shutil.disk_usage(folder).free if os.path.isdir(folder) else 0
    logger.warning(
        "%s is compressed as a whole (%.2f GB): it is decompressed once, to %s, where %.1f GB are free",
        path, size / 1e9, target, free / 1e9,
    )  # fmt: skip
    bound = min(unpacked_bound(size), config.archive_cache_bytes)
    started_at = time.perf_counter()
    try:
        nbytes = _decompress(file, size, target, bound)
    except UnreadableImageError:
        raise
    except OSError as exc:
        advice = "dask.config.set({'pandas-imgproc.archive-cache': folder}) names another folder"
        raise OSError(exc.errno, f"{target!r} cannot be written: {exc.strerror or exc}; {advice}") from exc
    _delete_stale(target)
    logger.info("%s: %.2f GB decompressed in %.1f s", path, nbytes / 1e9, time.perf_counter() - started_at)


def _decompress(file: IO[bytes], size: int, target: str, bound: int) -> int:
    """Write the decompressed bytes of a file to another one, and return their number."""
    nbytes = 0
    with atomic_write(target) as fd, open(fd, "wb", closefd=False) as out, _bar(target, size) as bar:
        for chunk in read_chunks(open_decompressed(file)):
            nbytes += len(chunk)
            if nbytes > bound:
                raise UnreadableImageError(
                    "too_large", f"the archive becomes larger than {bound:,} bytes, from {size:,}: unpack it with "
                    "pandas_imgproc.unpack, or raise pandas-imgproc.archive-cache-bytes"
                )  # fmt: skip
            out.write(chunk)
            bar.update(file.tell() - bar.n)
    return nbytes


def _bar(target: str, size: int) -> Any:
    """Return a bar of the compressed bytes that were read, shown in a terminal."""
    shown = setting("progress") is not False and sys.stderr is not None and sys.stderr.isatty()
    name = os.path.basename(target)
    return import_atomically("tqdm.std").tqdm(
        total=size, desc=f"decompress {name[1:30]}", unit="B", unit_scale=True, disable=not shown
    )


def _delete_stale(target: str) -> None:
    """Delete the tars of earlier versions of an archive."""
    folder, name = os.path.split(target)
    prefix = name.rpartition("-")[0].rpartition(".")[0]
    for other in os.listdir(folder or "."):
        if other != name and re.fullmatch(re.escape(prefix) + r"\.[0-9a-f]+-[0-9a-f]+\.tar", other):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, other))
