"""Hints for names that lead to no file: the argument, or the correction, with which one would be found."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pandas_imgproc.codec import READ_SUFFIXES
from pandas_imgproc.errors import JournalError
from pandas_imgproc.sinks.manifest import FolderManifest
from pandas_imgproc.sinks.own_names import MANIFEST
from pandas_imgproc.source import is_dir
from pandas_imgproc.source.archive import list_members
from pandas_imgproc.source.paths import ArchiveMember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.source import Source

MAX_SCANNED_ENTRIES = 2000
"""Limit of the directory entries that are scanned for a missing path, below the root and below its ancestors."""

_MAX_LISTED = 3

_CORRECTIONS: tuple[tuple[Callable[[str], str], str], ...] = (
    (lambda name: name.strip(" \t\r\n\ufeff'\""), "without the blanks, quotes or line ends around it: .str.strip()"),
    (lambda name: name.replace("\\", "/"), r"with slashes in place of backslashes: .str.replace('\\', '/')"),
    (os.path.expanduser, "with the home folder in place of '~': .map(os.path.expanduser)"),
    (os.path.expandvars, "with the values of its variables: .map(os.path.expandvars)"),
    (unquote, "percent-decoded: .map(urllib.parse.unquote)"),
    (lambda name: unicodedata.normalize("NFC", name), "in another Unicode form: .str.normalize('NFC')"),
    (lambda name: unicodedata.normalize("NFD", name), "in another Unicode form: .str.normalize('NFD')"),
    (lambda name: name.lstrip("/"), "relative to the root: .str.lstrip('/')"),
    (lambda name: name.partition("/")[2], "without its first folder: .str.partition('/')[2]"),
    (os.path.basename, "without its folders: .map(os.path.basename)"),
)
_CONTENTS: tuple[tuple[str, str], ...] = (
    (
        r"(/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|Qk)[A-Za-z0-9+/\s]{24,}={0,2}",
        "It is base64; the bytes in it can be read: .map(base64.b64decode).",
    ),
    (r"b(['\"]).*\\x.*", "It is bytes as text, as a CSV file stores them: .map(ast.literal_eval)."),
    (r"[0-9a-f]{32}\Z", "If this is a column of MD5 digests: method='md5' compares them."),
    (r"\d{15,20}\Z", "If this is a column of hashes as text: .astype('UInt64')."),
)


def suggest(name: str, source: Source) -> str | None:
    """Return a sentence with the correction of a missing name, or None.

    Parameters
    ----------
    name : str
        Value of the column, without the ``suffix=``.
    source : Source
        Source of the call, whose root is searched.
    """
    content = next((hint for pattern, hint in _CONTENTS[:2] if re.match(pattern, name, re.DOTALL)), None)
    if content or "://" in name or "\0" in name:
        return content
    inside = source.try_resolve(name)
    if source.is_local_dir and isinstance(inside, ArchiveMember):
        return _hint_in_archive(inside, name + (source.suffix or ""))
    finder = _FileFinder(source) if source.is_local_dir else _member_finder(source)
    found = finder and (finder.hint(name) or _hint_for_corrected(finder, name))
    return found or next((hint for pattern, hint in _CONTENTS[2:] if re.match(pattern, name)), None)


def _hint_in_archive(location: ArchiveMember, name: str) -> str | None:
    """Return a hint for a path, with the ``suffix=``, that goes on behind the name of an archive."""
    try:
        members = list_members(str(location.archive))
    except Exception:  # the archive cannot be read: its failure has the reason
        return None
    searched = location.name.casefold()
    tails = [searched, *(searched.partition("/")[2:])]  # also without its first folder
    found = next((one for tail in tails for one in members if tail and f"/{one.casefold()}".endswith(f"/{tail}")), None)
    start = name.removesuffix(location.name)
    return found and f"There is {start + found!r}."


def _hint_for_corrected(finder: _Finder, name: str) -> str | None:
    for correct, text in _CORRECTIONS:
        corrected = correct(name)
        if corrected == name or not corrected:
            continue
        if finder.exists(corrected):
            return f"It would be found {text}."
        hint = finder.hint(corrected)
        if hint:
            return f"{hint.removesuffix('.')}, {text}."
    return None


class _Finder:
    """Search for the file that a name could mean."""

    suffix: str

    def exists(self, name: str) -> bool:
        """Return whether there is a file of a name below the root."""
        raise NotImplementedError

    def hint(self, name: str) -> str | None:
        """Return a sentence with the ``root=`` or ``suffix=`` with which a name is found."""
        raise NotImplementedError


class _FileFinder(_Finder):
    """Search below a local folder, and near it."""

    def __init__(self, source: Source) -> None:
        self._top, self.suffix = Path(source.root or "."), source.suffix or ""
        self._names: dict[Path, list[str]] = {}  # by folder

    def exists(self, name: str) -> bool:
        return _is_file(self._top / (name + self.suffix))

    def hint(self, name: str) -> str | None:
        if os.path.isabs(name):
            return self._hint_with_suffix(name, [self._top])
        return self._hint_in(name, self._below) or self._hint_in(name, self._around, exact=True)

    def _hint_in(self, name: str, folders: list[Path], *, exact: bool = False) -> str | None:
        found = [folder for folder in folders if _is_file(folder / (name + self.suffix))]
        found = [folder for folder in found if not _is_written_here(folder / name)]
        if found and found[0] != self._top:
            roots = " or ".join(f"root={str(folder)!r}" for folder in found[:_MAX_LISTED])
            return f"It would be found with {roots}."
        return None if exact and not os.path.splitext(name)[1] else self._hint_with_suffix(name, folders)

    def _hint_with_suffix(self, name: str, folders: list[Path]) -> str | None:
        if self.suffix:
            plain = next((folder for folder in folders if _is_file(folder / name)), None)
            return f"It would be found {self._with_root(plain, ' and ')}without suffix=." if plain else None
        for folder in folders:
            near = self._near_name(folder / name)
            if near and near.startswith(f"{os.path.basename(name)}."):
                suffix = near[len(os.path.basename(name)) :]
                return f"It would be found {self._with_root(folder, ' and ', 'with ')}suffix={suffix!r}."
            if near:
                return f"There is {near!r} {self._with_root(folder, '')}".rstrip() + "."
        return None

    def _with_root(self, folder: Path, separator: str, otherwise: str = "") -> str:
        return otherwise if folder == self._top else f"with root={str(folder)!r}{separator}"

    def _near_name(self, path: Path) -> str | None:
        """Return the name of a file that has the name of `path` and a suffix, another case, or another suffix."""
        name, stem = path.name, path.stem.casefold()
        tests: tuple[Callable[[str], bool], ...] = (
            lambda other: other.startswith(f"{name}."),
            lambda other: other.casefold() == name.casefold(),
            lambda other: path.suffix.lower() in READ_SUFFIXES and os.path.splitext(other)[0].casefold() == stem,
        )
        names = self._list_files(path.parent)
        return next((other for test in tests for other in names if test(other)), None)

    def _list_files(self, folder: Path) -> list[str]:
        """Return the names of some files of a folder, which is listed once for all corrections."""
        if folder not in self._names:
            entries = scandir(folder, MAX_SCANNED_ENTRIES)
            self._names[folder] = sorted(entry.name for entry in entries if not is_dir(entry))
        return self._names[folder]

    @cached_property
    def _below(self) -> list[Path]:
        """Root and its descendants."""
        return list(_descendants(self._top))

    @cached_property
    def _around(self) -> list[Path]:
        """Two nearest ancestors of the root, with their descendants: data are often beside the working folder."""
        ancestors = [folder for folder in self._top.absolute().parents if folder != Path("/")][:2]
        return list(dict.fromkeys(itertools.chain.from_iterable(map(_descendants, ancestors))))


class _MemberFinder(_Finder):
    """Search in a local archive."""

    def __init__(self, root: str, location: ArchiveMember, suffix: str) -> None:
        assert isinstance(location.archive, str)
        self._prefix, self.suffix = location.name, suffix
        self._archive = root.rstrip("/").removesuffix(f"/{self._prefix.rstrip('/')}")
        self._names = list_members(location.archive)

    def exists(self, name: str) -> bool:
        return self._prefix + name + self.suffix in self._names

    def hint(self, name: str) -> str | None:
        ending = f"/{name}{self.suffix}"
        found = sorted({member.removesuffix(ending) for member in self._names if member.endswith(ending)})
        if found:
            roots = " or ".join(f"root={f'{self._archive}/{folder}'!r}" for folder in found[:_MAX_LISTED])
            return f"It would be found with {roots}."
        folded = (self._prefix + name + self.suffix).casefold()
        near = next((member for member in self._names if member.replace("\\", "/").casefold() == folded), None)
        return near and f"The archive has {near!r}."


def _member_finder(source: Source) -> _MemberFinder | None:
    location = source.resolver("x") if source.is_local and source.resolver else None
    if not isinstance(location, ArchiveMember) or not isinstance(location.archive, str):
        return None
    try:
        location = ArchiveMember(location.archive, location.name.removesuffix("x"))
        return _MemberFinder(source.root or "", location, source.suffix or "")
    except Exception:  # the archive cannot be read: its failure has the reason
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_written_here(path: Path) -> bool:
    """Return whether this package wrote other images to the folder, such as thumbnails."""
    if not os.path.exists(path.parent / MANIFEST):
        return False
    try:
        tasks = FolderManifest(str(path.parent)).tasks.values()
    except JournalError:
        return True
    return any(spec.task.get("method") != "download" for spec in tasks)


def _descendants(top: Path) -> Iterator[Path]:
    """Yield a folder and its descendants, level by level up to a limit; links are followed, each folder once."""
    n_scanned, level, visited = 0, [top], set[tuple[int, int]]()
    while level and n_scanned < MAX_SCANNED_ENTRIES:
        yield from level
        children: list[Path] = []
        for folder in level:
            entries = scandir(folder, MAX_SCANNED_ENTRIES - n_scanned)
            n_scanned += len(entries)
            children += sorted(Path(entry.path) for entry in entries if _is_new_folder(entry, visited))
        level = children
    yield from level


def _is_new_folder(entry: os.DirEntry[str], visited: set[tuple[int, int]]) -> bool:
    if entry.name.startswith(".") or not is_dir(entry):
        return False
    try:
        status = os.stat(entry.path)
    except OSError:
        return False
    key = status.st_dev, status.st_ino
    is_new = key not in visited
    visited.add(key)
    return is_new


def scandir(folder: Path, limit: int) -> list[os.DirEntry[str]]:
    """Return some entries of a folder; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(itertools.islice(entries, limit))
    except (OSError, ValueError):  # ValueError: half of a surrogate pair
        return []
