"""Unpacking of archives: the function `unpack`."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, get_args

from pandas_imgproc._text import MAX_QUOTED_CHARS, shorten, truncate_path
from pandas_imgproc._uninterrupted import import_atomically
from pandas_imgproc._validation import check_choice, check_nbytes, check_path
from pandas_imgproc.config import setting
from pandas_imgproc.errors import UnreadableImageWarning
from pandas_imgproc.execution.progress import is_terminal
from pandas_imgproc.failures import Errors, count_kinds, find_stack_level
from pandas_imgproc.sinks.unpacked_files import Unpacker
from pandas_imgproc.source.archive_index import CODE_PAGES
from pandas_imgproc.source.archive_stream import ArchiveStream

if TYPE_CHECKING:
    import pandas as pd

    from pandas_imgproc.errors import Failure


def unpack(
    archive: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    encoding: str | None = None,
    max_bytes: int | str | None = None,
    overwrite: bool = False,
    errors: Errors = "warn",
    progress: bool | None = None,
) -> pd.Series[Any]:
    """Unpack an archive into a folder, and never a byte outside of it.

    The same call again continues where the last one stopped: files that it wrote are left, missing ones are written.

    Parameters
    ----------
    archive : path
        A local ``.zip``, ``.tar``, ``.tar.gz``, ``.tar.bz2``, ``.tar.xz`` or ``.tar.zst``, of any name.
    to : path
        A folder, which need not exist.
    encoding : str, optional
        Code page of Windows, such as ``"cp932"``, of the names in a zip that does not tell theirs; by default UTF-8, if
        they are valid, else cp437.
    max_bytes : int or str, optional
        Bytes that all files may have together, such as ``"500 GB"``. By default a hundred times the size of the
        archive, or 1 GiB if that is more: an archive that becomes larger is a bomb.
    overwrite : bool
        Whether existing files are replaced that were not unpacked from this archive.
    errors : {"warn", "coerce", "raise"}
        Policy for members that are refused: one warning with the reasons, none, or an exception at the first.
    progress : bool, optional
        As in `load_resized`.

    Returns
    -------
    Series
        Named ``path``, of str, in the order of the archive, with the names of the members as index: their files,
        missing for members that were refused; the reasons are in ``.img.failures``.

    Raises
    ------
    FileNotFoundError
        If there is no such archive.
    UnreadableImageError
        If the archive is damaged or larger than `max_bytes`, or a member is refused with ``errors="raise"``. What was
        unpacked before remains.
    JournalError
        If a file exists that was not unpacked from this archive. It is a ValueError.
    OSError
        If a file cannot be written.

    Notes
    -----
    Refused are members whose names are absolute or climb with ``..``, links out of the archive, devices and pipes,
    names that differ only in case, and others that a folder cannot hold. A link to another member becomes a hard link
    to its file. Permissions, owners and times are those of new files.

    Examples
    --------
    >>> import zipfile
    >>> with zipfile.ZipFile("train.zip", "w") as file:
    ...     for name in ("cat/1.jpg", "dog/2.jpg", "../3.jpg"):
    ...         file.writestr(name, b"...")
    >>> paths = unpack("train.zip", "train", errors="coerce")
    >>> paths.fillna("none").tolist()
    ['train/cat/1.jpg', 'train/dog/2.jpg', 'none']
    >>> paths.img.failures["kind"].tolist()
    ['outside_root']
    """
    source, folder = _check_path("archive", archive), _check_path("to", to)
    check_choice("errors", errors, get_args(Errors))
    if encoding is not None and encoding not in CODE_PAGES:
        raise ValueError(f"encoding={shorten(encoding)} is not a code page of Windows: {', '.join(CODE_PAGES)}")
    bound = None if max_bytes is None else check_nbytes("max_bytes", max_bytes, "500 GB")
    with Unpacker(source, folder, overwrite=overwrite, fail_fast=errors == "raise") as unpacker:
        stream = ArchiveStream(source, encoding, bound)
        with _bar(source, stream.size, progress) as bar:
            unpacker.run(stream, lambda position: bar.update(position - bar.n))
    result = unpacker.result()
    if errors == "warn" and unpacker.failures:
        text = _warning_text(unpacker.failures, len(result))
        warnings.warn(text, UnreadableImageWarning, stacklevel=find_stack_level())
    return result


def _check_path(name: str, path: object) -> str:
    text = check_path(name, path, "a path such as 'train.zip'")
    if "://" in text:
        raise ValueError(f"{name}={text!r} is not local; copy the archive here first, and unpack it to a local folder")
    return text


def _warning_text(failures: list[Failure], n: int) -> str:
    lines = [f"{len(failures):,} of {n:,} members were not unpacked ({count_kinds(failures)}):"]
    lines += [f"  {truncate_path(failed['path'], MAX_QUOTED_CHARS)!r}: {failed['message']}" for failed in failures[:3]]
    if len(failures) > 3:
        lines.append(f"  and {len(failures) - 3:,} more")
    return "\n".join([*lines, "The table of them is result.img.failures; errors='coerce' is silent."])


def _bar(archive: str, size: int, progress: bool | None) -> Any:
    """Return a bar of the bytes of an archive, in a terminal."""
    shown = setting("progress") if progress is None else progress
    disable = not (is_terminal(sys.stderr) if shown is None else shown)
    name = f"unpack {os.path.basename(archive)[:30]}"
    return import_atomically("tqdm.std").tqdm(
        total=size, desc=name, unit="B", unit_scale=True, disable=disable, delay=setting("progress-delay")
    )
