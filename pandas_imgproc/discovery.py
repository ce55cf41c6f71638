"""Discovery of image files: a frame from a folder, a pattern or an archive."""

from __future__ import annotations

import functools
import glob
import itertools
import os
import re
from collections import deque
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._file_uri import to_user_path
from pandas_imgproc._text import shorten
from pandas_imgproc.config import setting
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.sinks.manifest import derived_files
from pandas_imgproc.source import FOLLOW_ALL, StorageOptions, is_dir, open_filesystem, paths_to_series
from pandas_imgproc.source.archive import list_members
from pandas_imgproc.source.archive_index import CODE_PAGES
from pandas_imgproc.source.paths import ArchiveMember, is_archive_path, through_archive, without_archive_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIGITS = re.compile(r"(\d+)")
_SYSTEM_FOLDERS = frozenset({"@eaDir", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"})
"""Folders of network drives and operating systems, with thumbnails, deleted files and metadata."""


def from_glob(
    pattern: str | os.PathLike[str], *, storage_options: dict[str, Any] | None = None, encoding: str | None = None
) -> pd.DataFrame:
    """Return a frame of the images in a folder or an archive, or of the files that match a pattern.

    Parameters
    ----------
    pattern : path
        A folder, searched recursively for files with the suffix of an image; or a pattern such as
        ``"photos/**/*.jpg"``, in which ``**`` matches any folders, and of which all matching files are returned; or a
        URL of either, such as ``"s3://bucket/photos"``. Hidden files and folders are excluded, and so are files that
        `save_resized` and the other methods wrote from images that are also found, such as thumbnails. A local
        archive, ``"train.zip"``, ``"train.tar"`` or ``"train.tar.gz"``, is as a folder of its members, also within a
        pattern: ``"train.zip/cat"``, ``"train.zip/**/*.jpg"``, ``"shards/*.tar"``.
    storage_options : dict, optional
        Options for fsspec, as in `pandas.read_csv`.
    encoding : str, optional
        Code page of Windows, such as ``"cp932"`` or ``"cp1252"``, of the names in a zip that does not tell theirs.
        Without it they are shown as cp437, which may be illegible, and found all the same.

    Returns
    -------
    DataFrame
        ``image_path`` (str), in natural order: ``img2.jpg`` before ``img10.jpg``; and ``label`` (category, in natural
        order), the name of the parent folder. The path of a member, ``train.zip/cat/img2.jpg``, begins with that of
        its archive: all methods read it in place. The label of one that is in no folder is the name of the archive.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no file matches.
    UnreadableImageError
        If an archive cannot be read.
    ValueError
        If `encoding` is not a code page of Windows.
    JournalError
        If the manifest of a folder is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> for name in ("cat/img10.jpg", "cat/img2.jpg", "dog/img1.jpg", "dog/notes.txt"):
    ...     Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
    ...     Path("photos", name).touch()
    >>> df = from_glob("photos")
    >>> df["image_path"].tolist()
    ['photos/cat/img2.jpg', 'photos/cat/img10.jpg', 'photos/dog/img1.jpg']
    >>> df["label"].tolist(), df["label"].cat.codes.tolist()
    (['cat', 'cat', 'dog'], [0, 0, 1])
    """
    if not isinstance(pattern, str | os.PathLike) or not isinstance(os.fspath(pattern), str):
        raise TypeError(f"pattern={pattern!r} is not a folder such as 'photos', or a pattern such as 'photos/*.jpg'")
    if encoding is not None and encoding not in CODE_PAGES:
        raise ValueError(f"encoding={shorten(encoding)} is not a code page of Windows: {', '.join(CODE_PAGES)}")
    text = to_user_path(pattern)
    if "://" in text:
        paths = _list_remote(text, storage_options or {})
    elif storage_options:
        raise ValueError(f"storage_options={storage_options!r:.60} are for URLs, and pattern={text!r} is none")
    else:
        paths = _list_local(text, encoding)
        derived = derived_files(paths)
        paths = [path for path in paths if path not in derived]
    if not paths:
        raise FileNotFoundError(f"pattern={text!r} matches no image")
    paths = _natural_sorted(paths)
    return pd.DataFrame({"image_path": paths_to_series(paths), "label": _folder_names(paths)})


def _folder_names(paths: list[str]) -> pd.Series[Any]:
    @functools.cache
    def name_of(folder: str) -> str:
        name = os.path.basename(os.path.abspath(folder))
        return name if os.path.isdir(folder) else without_archive_suffix(name)

    names = [name_of(os.path.dirname(path)) for path in paths]
    categories = sorted(set(names), key=natural_sort_key)
    codes = {name: k for k, name in enumerate(categories)}
    # From codes: of the names pandas would make a column of str first, which holds UTF-8 only.
    return pd.Series(pd.Categorical.from_codes([codes[name] for name in names], pd.Index(paths_to_series(categories))))


def _natural_sorted(paths: list[str]) -> list[str]:
    """Return paths in natural order; the keys of their folders are computed once."""
    folder_key = functools.cache(_sort_text)

    def key(path: str) -> tuple[str, str]:
        folder, slash, name = path.rpartition("/")
        return (folder_key(folder) if slash else "") + _sort_text(name), path

    return sorted(paths, key=key)


def natural_sort_key(text: str) -> tuple[str, str]:
    """Return the key of a natural sort: numbers by their value, folder by folder.

    Examples
    --------
    >>> sorted(["img10", "img2", "Img1", "img/3"], key=natural_sort_key)
    ['img/3', 'Img1', 'img2', 'img10']
    """
    return _sort_text(text), text


def _sort_text(text: str) -> str:
    """Return a text that sorts as another does naturally: no file name has a NUL, which ends its parts and texts."""
    return _DIGITS.sub(_sort_digits, text.casefold().replace("/", "\0\0")) + "\0\0"


def _sort_digits(match: re.Match[str]) -> str:
    digits = match[0] if match[0].isascii() else str(int(match[0]))
    digits = digits.lstrip("0")
    return f"\0{chr(len(digits) + 1)}{digits}"  # the longer number is the greater one


def is_image_path(path: str) -> bool:
    """Return whether a path has the suffix of an image."""
    return os.path.splitext(path)[1].lower() in codec.READ_SUFFIXES


def _list_local(text: str, encoding: str | None = None) -> list[str]:
    if os.path.isdir(text):
        return [path for path in _walk_files(text) if is_image_path(path)]
    location = through_archive(text)
    if is_archive_path(text) and os.path.isfile(text):
        return _list_archive(text, encoding)
    if isinstance(location, ArchiveMember):
        return _list_archive(str(location.archive), encoding, location.name)
    if not glob.has_magic(text) and not os.path.exists(text):
        kind = "archive" if is_archive_path(text) else "folder"
        raise FileNotFoundError(f"pattern={text!r}: there is no such {kind}")
    recursive = "**" in text.split("/")
    found = _glob_recursively(text) if recursive else [path for path in glob.glob(text) if not os.path.isdir(path)]
    lists = (_list_archive(path, encoding) if is_archive_path(path) else [path] for path in found)
    return list(itertools.chain.from_iterable(lists))


def _list_archive(archive: str, encoding: str | None, pattern: str = "") -> list[str]:
    """Return the paths of the members of an archive that are images, or that match a pattern."""
    try:
        names = list_members(archive, encoding)
    except UnreadableImageError as exc:
        raise UnreadableImageError(exc.kind, f"{archive!r}: {exc.message}") from exc
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if glob.has_magic(pattern):
        matches = _compile([*parts, "*"] if parts[-1] == "**" else parts)
        names = [name for name in names if matches(name)]
    else:
        folder = "".join(f"{part}/" for part in parts)
        names = [name for name in names if name.startswith(folder) and is_image_path(name)] or (
            [folder[:-1]] if folder[:-1] in names else []
        )
    return [f"{archive}/{name}" for name in names if not _is_skipped(name, parts)]


def _is_skipped(name: str, parts: list[str]) -> bool:
    """Return whether a member is hidden, of a system, or outside of its archive, and not named by a pattern."""
    return any((part[0] == "." or part in _SYSTEM_FOLDERS) and part not in parts for part in name.split("/"))


def _glob_recursively(pattern: str) -> list[str]:
    """Return the files that match a pattern with ``**``; glob would follow links to parent folders without end."""
    parts = [part for part in pattern.split("/") if part]
    n_plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    top = ("/" if pattern.startswith("/") else "") + "/".join(parts[:n_plain])
    magic = [*parts[n_plain:], "*"] if parts[-1] == "**" else parts[n_plain:]
    matches = _compile(magic)
    paths = _walk_files(top or os.curdir, with_hidden=any(part.startswith(".") for part in magic))
    start = len(os.path.join(top or os.curdir, ""))
    return [path if top else path[start:] for path in paths if matches(path, start)]


def _compile(parts: list[str]) -> Callable[..., re.Match[str] | None]:
    """Return the function that matches a path with the parts of a pattern."""
    return re.compile("/".join(map(_translate, parts)).replace("**/", _ANY_FOLDERS)).fullmatch


_ANY_FOLDERS = r"(?:[^/.][^/]*/)*"
_GLOB_TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def _translate(part: str) -> str:
    r"""Return the regular expression of a part of a pattern; ``**`` stays.

    Examples
    --------
    >>> _translate("a?[!b]*.jpg")
    '(?!\\.)a[^/][^b][^/]*\\.jpg'
    """
    if part == "**":
        return part
    regex = "" if part.startswith(".") else r"(?!\.)"
    for token in _GLOB_TOKEN.findall(part):
        if token[0] in "*?":
            regex += "[^/]*" if token[0] == "*" else "[^/]"
        elif len(token) > 1:
            regex += (
                "["
                + ("^" if token[1] == "!" else "")
                + re.escape(token[1:-1].removeprefix("!")).replace(r"\-", "-")
                + "]"
            )
        else:
            regex += re.escape(token)
    return regex


def _walk_files(top: str, *, with_hidden: bool = False) -> Iterator[str]:
    """Yield the files below a folder. Links to folders are followed last, and each folder is visited once.

    So a file is found below its own folder, whose name may be its label, and not below a link to that.
    """
    visited, folders, links = set(), [top], deque[str]()
    while folders or links:
        folder = folders.pop() if folders else links.popleft()
        try:
            status = os.stat(folder)
            entries = [] if (status.st_dev, status.st_ino) in visited else list(os.scandir(folder))
        except OSError:  # it may not be read, or was removed
            continue
        visited.add((status.st_dev, status.st_ino))
        prefix = os.path.join(folder, "")
        for entry in entries:
            if entry.name in _SYSTEM_FOLDERS or (entry.name.startswith(".") and not with_hidden):
                continue
            if is_dir(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            else:
                yield prefix + entry.name


def _list_remote(url: str, storage_options: dict[str, Any]) -> list[str]:
    if is_archive_path(url.partition("?")[0]):
        raise ValueError(
            f"pattern={url!r} is a remote archive, whose members are not listed: copy it here and list the copy, or "
            "read the names of a column from it, with root="
        )
    options = StorageOptions(storage_options)
    fs, path = open_filesystem(url, options, FOLLOW_ALL, str(setting("user-agent")))
    if glob.has_magic(path):
        return [fs.unstrip_protocol(name) for name in fs.glob(path) if not _is_hidden(name, path)]
    names = [name for name in fs.find(path) if is_image_path(name) and not _is_hidden(name, path)]
    if not names and not fs.exists(path):
        raise FileNotFoundError(f"pattern={url!r}: there is no such folder")
    return [fs.unstrip_protocol(name) for name in names]


def _is_hidden(path: str, pattern: str) -> bool:
    """Return whether a path has a hidden part that the pattern does not name."""
    return any(part.startswith(".") for part in set(path.split("/")).difference(pattern.split("/")))
