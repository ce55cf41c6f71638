"""Files of an unpacked archive: below one folder, never outside of it, with a journal of the finished members."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import functools
import os
import posixpath
import re
import shutil
import stat
import unicodedata
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc._atomic import atomic_write
from pandas_imgproc._text import truncate_path
from pandas_imgproc.errors import JournalError, UnreadableImageError, failure
from pandas_imgproc.sinks.journal_storage import FORMAT, JsonJournal, LocalJournal, check_format
from pandas_imgproc.source import paths_to_series, signature_of
from pandas_imgproc.tasks import with_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.source.archive_stream import ArchiveStream, Member

_WINDOW_MEMBERS, _WINDOW_NBYTES = 512, 2**26
"""Members, and their bytes, after which the journal has a line: so many are written again after a crash."""

_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 3800
_NAME_ERRNOS = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
_DRIVE = re.compile(r"[A-Za-z]:")


def safe_parts(name: str) -> list[str]:
    """Return the folders and the name of a member's file, or raise an UnreadableImageError.

    Examples
    --------
    >>> safe_parts("./cat//1.jpg")
    ['cat', '1.jpg']
    """
    slashed = name.replace("\\", "/")  # some systems take one for the other
    if slashed.startswith("/") or _DRIVE.match(name):
        raise UnreadableImageError("outside_root", "its name is absolute")
    if ".." in slashed.split("/"):
        raise UnreadableImageError("outside_root", "its name climbs out of a folder with '..'")
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise UnreadableImageError("invalid_path", "its name holds a control character")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts:
        raise UnreadableImageError("invalid_path", "it has no name")
    if any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in parts):
        raise UnreadableImageError("invalid_path", f"its name is longer than {_MAX_NAME_BYTES} bytes")
    return parts


class _Journal(JsonJournal):
    """Journal of an unpacked archive: its signature, and the number of the members that are finished."""

    _intact = "unpacked files are intact; overwrite=True unpacks all of them again"

    def _reset(self) -> None:
        self.signature: list[int] | None = None
        self.n_done = 0
        self.repeated: set[str] = set()  # names of files of which a later member was begun

    def _replay(self, line: Any) -> None:
        if "journal" in line:
            check_format(line)
            self.signature, self.n_done = list(map(int, line["archive"])), 0
            self.repeated = set()
        elif "repeated" in line:
            self.repeated.add(str(line["repeated"]))
        else:
            self.n_done = int(line["done"])

    def start(self, signature: list[int]) -> None:
        """Record the archive."""
        self._append({"journal": FORMAT, "anew": True, "archive": signature})
        self.signature, self.n_done, self.repeated = signature, 0, set()

    def repeat(self, name: str) -> None:
        """Record that a later member replaces the file of an earlier one, before it does."""
        if name not in self.repeated:
            self._append({"repeated": name})
            self.repeated.add(name)

    def advance(self, n_done: int) -> None:
        """Record that so many members are finished."""
        self._append({"done": n_done}, sync=False)


class Unpacker(contextlib.AbstractContextManager["Unpacker"]):
    """Unpacker of one archive into a folder, which is locked until it is closed.

    Parameters
    ----------
    archive, folder : str
        Paths.
    overwrite : bool
        Whether existing files are replaced that were not unpacked from this archive.
    fail_fast : bool
        Whether the first member that is refused ends the call.
    """

    def __init__(self, archive: str, folder: str, *, overwrite: bool, fail_fast: bool) -> None:
        self._archive, self._folder, self._overwrite, self._fail_fast = archive, folder, overwrite, fail_fast
        if not os.path.isfile(archive):
            raise FileNotFoundError(f"archive={archive!r}: there is no such file")
        signature = list(signature_of(os.stat(archive)))
        os.makedirs(folder, exist_ok=True)
        self._journal_name = f".{_short(os.path.basename(os.path.abspath(archive)))}.unpacked.jsonl"
        self._storage = LocalJournal(os.path.join(folder, self._journal_name))
        self._storage.lock()
        try:
            self._journal = _Journal(self._storage, lenient=overwrite)
            self._check_signature(signature)
        except BaseException:
            self._storage.close()
            raise
        self._n_done = self._journal.n_done
        self._window_start = self._window_nbytes = 0
        self._names: list[str] = []
        self._paths: list[str | None] = []
        self._rows: dict[str, int] = {}  # of files and links, by the name of the file
        self._folded: dict[str, str] = {}  # names of files and folders as a file system without cases has them
        self._folders: set[str] = {""}
        self._links: dict[int, tuple[str, str, int]] = {}
        self.failures: list[Failure] = []

    def __exit__(self, *_: object) -> None:
        self._storage.close()

    def _check_signature(self, signature: list[int]) -> None:
        if self._journal.signature == signature and not self._overwrite:
            return
        if self._journal.signature is not None and not self._overwrite:
            raise JournalError(
                f"to={self._folder!r} has files of another version of {self._archive!r}; choose another folder, or "
                "overwrite=True replaces them"
            )
        self._journal.start(signature)

    # ---- run

    def run(self, stream: ArchiveStream, update: Callable[[int], Any]) -> None:
        """Unpack all members; `update` is called with the position in the archive."""
        self._check_space(stream)
        n = 0
        for n, member in enumerate(self._members(stream), 1):
            self._advance(n - 1, member.size)
            self._try(member, n - 1)
            update(stream.position)
        self._make_links()
        if n > self._n_done:
            self._journal.advance(n)

    def _members(self, stream: ArchiveStream) -> Iterator[Member]:
        """Yield the members; errors name the archive."""
        try:
            yield from stream
        except UnreadableImageError as exc:
            raise self._with_archive(exc) from exc

    def _with_archive(self, exc: UnreadableImageError) -> UnreadableImageError:
        return UnreadableImageError(exc.kind, f"{self._archive!r}: {exc.message}")

    def _check_space(self, stream: ArchiveStream) -> None:
        free = shutil.disk_usage(self._folder).free
        if stream.size > free and not self._n_done:
            raise OSError(
                errno.ENOSPC, f"to={self._folder!r} has {free:,} bytes free, and the archive has {stream.size:,}"
            )

    def _advance(self, number: int, nbytes: int) -> None:
        """Add a line to the journal before the first member of a window."""
        self._window_nbytes += nbytes
        if number and number - self._window_start < _WINDOW_MEMBERS and self._window_nbytes < _WINDOW_NBYTES:
            return
        self._window_start, self._window_nbytes = number, 0
        if number > self._n_done:
            self._journal.advance(number)

    def _try(self, member: Member, number: int) -> None:
        if member.kind == "folder":
            with contextlib.suppress(UnreadableImageError):  # one that is not safe has unsafe members, or is empty
                self._make_folder("/".join(safe_parts(member.name)))
            return
        self._names.append(member.name)
        self._paths.append(None)
        self._attempt(len(self._names) - 1, lambda: self._unpack(member, number))

    def _attempt(self, row: int, function: Any) -> None:
        try:
            function()
        except UnreadableImageError as exc:
            if exc.kind == "too_large":  # of the archive, not of the member
                raise self._with_archive(exc) from exc
            if self._fail_fast:
                raise UnreadableImageError(exc.kind, f"{self._names[row]!r}: {exc.message}") from exc
            self.failures.append(failure(row, self._names[row], exc.kind, exc.message))

    def _unpack(self, member: Member, number: int) -> None:
        parts = safe_parts(member.name)
        name = "/".join(parts)
        self._check_free(name)
        if member.kind == "other":
            raise UnreadableImageError("not_a_file", "it is a device, a pipe, or of an unknown type")
        if len(parts) == 1 and name.startswith(self._journal_name):
            raise UnreadableImageError("invalid_path", "its name is that of the journal")
        self._make_folder("/".join(parts[:-1]))
        row, path = len(self._names) - 1, os.path.join(self._folder, name)
        if member.kind == "link":
            self._links[row] = name, member.target, number
            return
        if not self._is_unpacked(path, member, number):
            if name in self._rows:
                self._journal.repeat(name)
            self._write(path, member)
        self._finish(row, name, path)

    def _write(self, path: str, member: Member) -> None:
        try:
            with atomic_write(path) as fd, open(fd, "wb", closefd=False) as file:
                for chunk in member.chunks():
                    file.write(chunk)
        except UnreadableImageError:
            raise
        except OSError as exc:
            if exc.errno in _NAME_ERRNOS:
                raise UnreadableImageError("invalid_path", f"its path cannot be made: {exc.strerror}") from exc
            raise OSError(
                exc.errno, f"{path!r} cannot be written: {exc.strerror or exc}; the same call continues"
            ) from exc

    def _finish(self, row: int, name: str, path: str) -> None:
        self._paths[row], self._rows[name] = path, row

    def _check_free(self, name: str) -> None:
        """Raise an UnreadableImageError if the name of a file collides with another one."""
        key = unicodedata.normalize("NFC", name).casefold()
        other = self._folded.setdefault(key, name)
        if other != name:
            raise UnreadableImageError(
                "invalid_path", f"its name differs from {truncate_path(other, 100)!r} in case or Unicode form only"
            )
        if name in self._folders:
            raise UnreadableImageError("invalid_path", "its name is that of a folder of other members")

    def _make_folder(self, name: str) -> None:
        """Make a folder and those above it, none of which may be a link: it could lead anywhere."""
        if name in self._folders:
            return
        if len(os.fsencode(os.path.abspath(os.path.join(self._folder, name)))) > _MAX_PATH_BYTES:
            raise UnreadableImageError("invalid_path", f"its path is longer than {_MAX_PATH_BYTES} bytes")
        for end in [k for k, char in enumerate(name) if char == "/"] + [len(name)]:
            if name[:end] not in self._folders:
                self._make_one_folder(name[:end])
                self._folders.add(name[:end])

    def _make_one_folder(self, name: str) -> None:
        path = os.path.join(self._folder, name)
        try:
            os.mkdir(path)
        except FileExistsError:
            if os.path.islink(path):
                raise UnreadableImageError("outside_root", f"the folder {name!r} of its path is a link") from None
            if not os.path.isdir(path):
                raise UnreadableImageError("invalid_path", f"{name!r}, a folder of its path, is a file") from None

    def _is_unpacked(self, path: str, member: Member, number: int) -> bool:
        """Return whether a member was unpacked by an earlier call; raise if its file is another one.

        Files are written atomically: one that the journal of a killed call does not have is equal. A power failure
        leaves empty ones.
        """
        try:
            status = os.lstat(path)
        except OSError:  # it does not exist, or its name is too long
            return False
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImageError("invalid_path", "a folder of its name exists")
        is_file = stat.S_ISREG(status.st_mode)
        if number < self._n_done and is_file and status.st_size == member.size:
            return True
        if self._may_replace(path, number) or (is_file and not status.st_size and member.size):
            return False
        if is_file and status.st_size == member.size and _is_equal(path, member):
            return True
        raise self._foreign(path)

    def _may_replace(self, path: str, number: int) -> bool:
        """Return whether an existing file may be replaced: also that of another member of the same name."""
        name = os.path.relpath(path, self._folder)
        return self._overwrite or number < self._n_done or name in self._rows or name in self._journal.repeated

    def _foreign(self, path: str) -> JournalError:
        return JournalError(
            f"{path!r} exists, and it was not unpacked from {self._archive!r}; choose another to=, or overwrite=True "
            "replaces it"
        )

    def _make_links(self) -> None:
        """Make all links, those to other links after these."""
        while self._links:
            ready = [row for row, (_, target, _) in self._links.items() if posixpath.normpath(target) in self._rows]
            for row in ready or list(self._links):
                link = self._links.pop(row)
                self._attempt(row, functools.partial(self._link, row, *link))

    def _link(self, row: int, name: str, target: str, number: int) -> None:
        """Make a link to the file of another member: a hard link, because it leads nowhere else."""
        if target.startswith("/") or _DRIVE.match(target) or posixpath.normpath(target).split("/")[0] == "..":
            raise UnreadableImageError(
                "outside_root", f"it is a link that leads out of the archive, to {target!r:.100}"
            )
        other = self._rows.get(posixpath.normpath(target))
        if other is None:
            raise UnreadableImageError("missing", f"it is a link to {target!r:.100}, which is no file of the archive")
        if posixpath.normpath(target) == name:
            raise UnreadableImageError("invalid_path", "it is a link to itself")
        self._check_free(name)  # again: folders of later members may have its name
        path, source = os.path.join(self._folder, name), self._paths[other]
        assert source is not None
        if self._rows.get(name, -1) > row:  # the file of a later member
            self._paths[row] = path
            return
        if os.path.lexists(path):
            if not self._may_replace(path, number) and not _is_same(path, source):
                raise self._foreign(path)
            os.unlink(path)
        try:
            os.link(source, path)
        except OSError:  # a file system without links
            shutil.copyfile(source, path)
        self._finish(row, name, path)

    # ---- result

    def result(self) -> pd.Series[Any]:
        """Return the paths of the files by the names of their members."""
        index = pd.Index(paths_to_series(self._names), name="member")
        paths = paths_to_series(np.array([*self._paths, None], dtype=object)[:-1], index).rename("path")
        self.failures.sort(key=lambda failed: failed["position"])
        paths.attrs["failures"] = with_labels(tuple(self.failures), index)
        return paths


def _is_equal(path: str, member: Member) -> bool:
    """Return whether a file has the bytes of a member."""
    with open(path, "rb") as file:
        return all(file.read(len(chunk)) == chunk for chunk in member.chunks())


def _is_same(path: str, other: str) -> bool:
    return os.path.isfile(path) and filecmp.cmp(path, other, shallow=False)


def _short(name: str) -> str:
    """Return the name of an archive as a part of another name."""
    return name if len(os.fsencode(name)) <= 200 else f"{zlib.crc32(os.fsencode(name)):08x}"
