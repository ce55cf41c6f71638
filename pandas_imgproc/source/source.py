"""Source of a job: values of a column become an iterator over files, in the order of the rows.

A file that cannot be read is no error during the iteration but a file whose `InputFile.data` raises: the kernel's only
``try`` surrounds the row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pandas_imgproc._file_uri import to_local_path
from pandas_imgproc._text import shorten
from pandas_imgproc._timing import add_bytes_read, timed
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import paths
from pandas_imgproc.source.inputs import (
    FailedInput,
    RowInputs,
    describe_input,
    is_encoded,
    path_or_bytes,
    read_in_memory,
)
from pandas_imgproc.source.local import BLOCK_NBYTES, UNKNOWN_SIGNATURE, FileSignature, read_file, signature_of
from pandas_imgproc.source.paths import ArchiveMember, Location, RemoteLocation, RemotePath
from pandas_imgproc.source.read_config import ReadConfig
from pandas_imgproc.source.redaction import StorageOptions, redact_path, redact_url
from pandas_imgproc.source.redirects import AllowedHost, RedirectPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pandas_imgproc.partition import PartitionInput
    from pandas_imgproc.source.copies import Output
    from pandas_imgproc.source.filesystems import ReadResult
    from pandas_imgproc.source.prefetch import Prefetcher
    from pandas_imgproc.source.remote import RemoteReader

MAX_STAT_REQUESTS = 10_000
"""Maximum number of remote files whose signatures are requested: each takes a request."""


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
    """

    __slots__ = ("_fetch", "_source", "_value", "columns", "i", "signature", "target")

    def __init__(
        self, value: Any, source: Source, target: str | None = None, fetch: Callable[[], ReadResult] | None = None
    ) -> None:
        self._value, self._source, self.target, self._fetch = value, source, target, fetch
        self.signature = UNKNOWN_SIGNATURE  # until `data` has read the file
        self.columns: Any = None  # frame of the partition, for functions that use other columns too
        self.i = 0  # row of `columns`

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
        """Return the encoded bytes, or the array of an image in memory.

        Returns
        -------
        bytes, CopiedFile, or ndarray of uint8, shape (height, width, channels)

        Raises
        ------
        UnreadableImageError
            With the kind of failure and the reason.
        """
        with timed("read"):
            read = self._source.data(self._value) if self._fetch is None else _counted(*self._fetch())
        data, self.signature = read
        return data


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

    def __iter__(self) -> Iterator[InputFile]:
        for file in self._files:
            self._current = file
            yield file

    @property
    def path(self) -> str:
        """Name of the file that was read last, in the failure table."""
        return self._current.path


@dataclass(frozen=True)
class Source:
    """Source of a job: resolves the values of a column to locations, and reads them.

    Attributes
    ----------
    root : str or None
        Folder, zip or tar archive, local or a URL: the start of relative paths, and nothing outside of it is read.
    suffix : str or None
        Text appended to each name, for a column of ids.
    folder : str
        Working directory of the caller: that of a worker may differ.
    options : StorageOptions
        Options that only file systems may see.
    schemes : frozenset of str
        Schemes of URLs that may be read.
    config : ReadConfig
        Configuration of remote reads.
    redirect_hosts : frozenset of AllowedHost, or None
        Hosts to which web servers may redirect; None without ``redirect_hosts=``.
    """

    root: str | None = field(default=None, repr=False)  # it may hold a password
    suffix: str | None = None
    folder: str = ""
    options: StorageOptions = field(default_factory=StorageOptions)
    schemes: frozenset[str] = paths.SCHEMES
    config: ReadConfig = field(default_factory=ReadConfig.current, repr=False)
    redirect_hosts: frozenset[AllowedHost] | None = None

    def __reduce__(self) -> Any:  # without the cached properties
        state = (self.root, self.suffix, self.folder, self.options, self.schemes, self.config, self.redirect_hosts)
        return Source, state

    @property
    def redacted_root(self) -> str | None:
        """Root without secrets; None if there is no root."""
        return None if self.root is None else redact_url(self.root)

    def redact_name(self, name: str) -> str:
        """Return a name of a column without secrets: of a URL, or below a root on a web server."""
        return (
            redact_url(name)
            if self.root is None or paths.web_root(self.root) is None
            else redact_path(redact_url(name))
        )

    @functools.cached_property
    def resolver(self) -> paths.Resolver | None:
        """Resolver of names below the root, None if there is no root; an invalid root raises a ValueError."""
        return None if self.root is None else paths.make_resolver(self.root, self.folder, self.schemes)

    @functools.cached_property
    def reader(self) -> RemoteReader:
        """Reader of remote files."""
        from pandas_imgproc.source.remote import RemoteReader  # imports asyncio, which local files do not need

        base = None if self.root is None else paths.web_root(self.root)
        return RemoteReader(self.options, self.config, RedirectPolicy(base, self.redirect_hosts))

    @functools.cached_property
    def is_local(self) -> bool:
        """Whether a name without a scheme is a local file or a member of a local archive."""
        return self.root is None or paths.scheme_of(self.root) is None

    @functools.cached_property
    def is_local_dir(self) -> bool:
        """Whether the root is a local folder, or there is no root."""
        return self.is_local and not isinstance(self.root and self.resolver and self.resolver("x"), ArchiveMember)

    def read(
        self,
        partition: PartitionInput,
        cancelled: Callable[[], bool] = lambda: False,
        output: Callable[[int], Output | None] | None = None,
    ) -> Iterator[tuple[int, InputFile]]:
        """Yield ``(i, file)`` for each row of a partition that names an image; missing rows are skipped.

        A remote file is not awaited any longer once `cancelled` returns True. With `output` large files are copied into
        the output of row i, and their data are a `CopiedFile`.
        """
        if isinstance(next((value for value in partition.inputs if value is not None), None), RowInputs):
            yield from self._read_groups(partition, cancelled)  # type: ignore[misc]  # for tasks of several images
            return
        remote = self._remote_inputs(partition.inputs, with_large=output is not None)
        with self._prefetcher(remote, cancelled, output) if remote else contextlib.nullcontext() as prefetcher:
            for i, (value, target) in enumerate(zip(partition.inputs, _first_targets(partition), strict=True)):
                if value is not None:
                    fetch = functools.partial(prefetcher.read, i) if prefetcher is not None and i in remote else None
                    if prefetcher is not None and fetch is not None and output is not None:
                        prefetcher.wait(i)  # before the row is in flight, whose time is limited
                    file = InputFile(value, self, target, fetch)
                    file.columns, file.i = partition.columns, i
                    yield i, file

    def _read_groups(
        self, partition: PartitionInput, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[int, InputFileGroup]]:
        """Yield ``(i, files)`` for each row of a partition of several images a row."""
        rows = [i for i, value in enumerate(partition.inputs) if value is not None]
        inputs = [value for i in rows for value in partition.inputs[i].values]
        files = self.read(dataclasses.replace(partition, inputs=inputs, targets=()), cancelled)
        for i in rows:
            group = InputFileGroup([next(files)[1] for _ in partition.inputs[i].values])
            group.columns, group.i = partition.columns, i
            yield i, group

    def _prefetcher(
        self,
        files: dict[int, Location],
        cancelled: Callable[[], bool],
        output: Callable[[int], Output | None] | None,
    ) -> Prefetcher:
        from pandas_imgproc.source.prefetch import Prefetcher  # imports asyncio

        return Prefetcher(self.reader, files, cancelled, output)

    def _remote_inputs(self, inputs: Sequence[Any], *, with_large: bool) -> dict[int, Location]:
        """Return the locations of remote files, and those of large local ones too, by position in the partition."""
        locations: dict[int, Location] = {}
        skips_names = self.is_local and not with_large
        for i, value in enumerate(inputs):
            if skips_names and isinstance(value, str) and "://" not in value:
                continue  # nearly always
            location = self.try_resolve(value)
            if location is not None and (_is_remote(location) or (with_large and _is_large(location))):
                locations[i] = location
        return locations

    def is_remote(self, inputs: Sequence[Any]) -> bool:
        """Return whether the first file of some inputs is remote, and with it most likely the others."""
        first = next((value for value in inputs if value is not None), None)
        location = self.try_resolve(first.values[0] if isinstance(first, RowInputs) else first)
        return location is not None and _is_remote(location)

    def try_resolve(self, value: Any) -> Location | None:
        """Return the location of an input's file; None for an input without a valid file name."""
        if type(value) is not str:  # nearly always it is
            value = path_or_bytes(value)
            if not isinstance(value, str | numbers.Number):
                return None
        try:
            return self.resolve(value)
        except UnreadableImageError:
            return None

    def data(self, value: Any) -> tuple[Any, FileSignature]:
        """Return the encoded bytes or the array of an input (see `InputFile.data`), and the signature of its file."""
        if not isinstance(value, str):  # nearly always it is
            value = path_or_bytes(value)
            if isinstance(value, FailedInput):
                raise UnreadableImageError(value.kind, value.message)
            if is_encoded(value):
                data = read_in_memory(value)
                return _check_not_empty(data) if isinstance(data, bytes) else data, UNKNOWN_SIGNATURE
        location = self.resolve(value)
        return _counted(*(read_file(location) if isinstance(location, str) else self._read_remote(location)))

    def _read_remote(self, location: RemoteLocation) -> ReadResult:
        from pandas_imgproc.source import archive

        if isinstance(location, ArchiveMember) and isinstance(location.archive, str):
            return archive.read_local_member(location, self.config)
        return self.reader.run(archive.read_remote_file(location, self.reader))

    def path(self, value: Any) -> str | None:
        """Return the path or URL of an input's file, without secrets; None if it has none."""
        if isinstance(value, Mapping):
            value = value.get("path")
        if isinstance(value, FailedInput):
            value = None if value.kind == "invalid_path" else value.path
        try:
            return paths.display_path(self.resolve(value))
        except UnreadableImageError:
            return None

    def signature(self, value: Any) -> FileSignature:
        """Return the current signature of an input's local file; `UNKNOWN_SIGNATURE` if it has none."""
        return _local_signature(self.try_resolve(value))

    def signatures(self, inputs: Sequence[Any], of: int = 0) -> list[FileSignature]:
        """Return the current signatures of the inputs' files, `UNKNOWN_SIGNATURE` for an input without one.

        Those of remote files are requested concurrently, and not at all above `MAX_STAT_REQUESTS` files; `of` is their
        number, if the inputs are some of more.
        """
        locations = [self.try_resolve(value) for value in inputs]
        signatures = [_local_signature(location) for location in locations]
        remote = {i: location for i, location in enumerate(locations) if isinstance(location, RemotePath)}
        if remote and max(of, len(remote)) <= MAX_STAT_REQUESTS:
            for i, signature in zip(remote, self.reader.signatures(list(remote.values())), strict=True):
                signatures[i] = signature
        return signatures

    def resolve(self, name: object) -> Location:
        """Return the location of a name: with the suffix, below the root.

        Raises
        ------
        UnreadableImageError
            ``invalid_path`` if it is not a valid name, ``outside_root`` if it leads out of the root, ``unsupported``
            if it is a URL of a scheme that may not be read.

        Examples
        --------
        >>> Source(suffix=".jpg", folder="train").resolve(17)
        'train/17.jpg'
        """
        text = paths.to_path_text(name, has_suffix=self.suffix is not None) + (self.suffix or "")
        if ":/" in text:
            text = to_local_path(text, self.folder)
            scheme = paths.scheme_of(text)
            if scheme is not None:
                return self._resolve_url(text, scheme)
        if self.resolver is not None:
            location = self.resolver(text)
            return paths.through_archive(location) if isinstance(location, str) else location
        path = text if text[:1] == os.sep == "/" else os.path.join(self.folder, text)  # absolute: nearly always
        return paths.through_archive(path)

    def _resolve_url(self, url: str, scheme: str) -> Location:
        try:
            if self.resolver is None:
                return paths.parse_url(url, scheme, self.schemes)
            if self.is_local:
                raise UnreadableImageError("outside_root", f"it leads out of root={self.redacted_root!r}")
            return self.resolver(url)
        except UnicodeError:  # half of a surrogate pair, or an invalid name of a server
            raise UnreadableImageError("invalid_path", "it cannot be a URL") from None


def _is_remote(location: Location) -> bool:
    return isinstance(location.archive if isinstance(location, ArchiveMember) else location, RemotePath)


def _is_large(location: Location) -> bool:
    return isinstance(location, str) and _local_signature(location)[0] > BLOCK_NBYTES


def _first_targets(partition: PartitionInput) -> Sequence[str | None]:
    n, targets = len(partition), partition.targets
    return targets[:: len(targets) // n] if targets else [None] * n


def _local_signature(location: Location | None) -> FileSignature:
    path = location.archive if isinstance(location, ArchiveMember) else location
    if not isinstance(path, str):
        return UNKNOWN_SIGNATURE
    try:
        return signature_of(os.stat(path))
    except (OSError, ValueError):
        return UNKNOWN_SIGNATURE


def _counted(data: bytes, signature: FileSignature) -> ReadResult:
    add_bytes_read(len(data))
    return _check_not_empty(data), signature


def _check_not_empty(data: bytes) -> bytes:
    if not data:
        raise UnreadableImageError("empty", "the file has no bytes")
    return data
