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
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import paths
from pandas_imgproc.source.input_file import InputFile, InputFileGroup
from pandas_imgproc.source.inputs import (
    FailedInput,
    RowInputs,
    is_encoded,
    path_or_bytes,
    read_in_memory,
)
from pandas_imgproc.source.local import BLOCK_NBYTES, UNKNOWN_SIGNATURE, FileSignature, local_signature, read_file
from pandas_imgproc.source.paths import ArchiveMember, Location, RemoteLocation, RemotePath
from pandas_imgproc.source.read_config import ReadConfig
from pandas_imgproc.source.read_control import UNCONTROLLED, ReadControl
from pandas_imgproc.source.redaction import StorageOptions, redact_path, redact_url
from pandas_imgproc.source.redirects import AllowedHost, RedirectPolicy
from pandas_imgproc.source.shared_files import check_not_empty, checked, prefetched, shared_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pandas_imgproc.partition import PartitionInput
    from pandas_imgproc.source.copies import Output
    from pandas_imgproc.source.filesystems import ReadResult
    from pandas_imgproc.source.input_file import Convert
    from pandas_imgproc.source.prefetch import Prefetcher
    from pandas_imgproc.source.remote import RemoteReader

MAX_STAT_REQUESTS = 10_000
"""Maximum number of remote files whose signatures are requested: each takes a request."""


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
        control: ReadControl = UNCONTROLLED,
        output: Callable[[int], Output | None] | None = None,
        block_rows: int | None = None,
        convert: Convert | None = None,
    ) -> Iterator[tuple[int, InputFile]]:
        """Return an iterator over ``(i, file)`` for each row of a partition that names an image.

        Missing rows are skipped. With `output` large files are copied into the output of row i, and their data are a
        `CopiedFile`. Regions of one image are yielded one after the other; with `block_rows` only those of the same
        block of so many positions. `convert` makes `CustomFile` of the bytes of some files.
        """
        files = self._read(partition, control, output, block_rows)
        return files if convert is None else _converted(files, convert)

    def _read(
        self,
        partition: PartitionInput,
        control: ReadControl,
        output: Callable[[int], Output | None] | None,
        block_rows: int | None,
    ) -> Iterator[tuple[int, InputFile]]:
        if partition.regions is not None:
            yield from self._read_regions(partition, control, block_rows)
            return
        if isinstance(next((value for value in partition.inputs if value is not None), None), RowInputs):
            yield from self._read_groups(partition, control)  # type: ignore[misc]  # for tasks of several images
            return
        remote = self.remote_inputs(partition.inputs, with_large=output is not None)
        with self.prefetcher(remote, control, output) if remote else contextlib.nullcontext() as prefetcher:
            for i, (value, target) in enumerate(zip(partition.inputs, _first_targets(partition), strict=True)):
                if value is not None:
                    fetch = prefetched(prefetcher, i) if prefetcher is not None and i in remote else None
                    if prefetcher is not None and fetch is not None and output is not None:
                        prefetcher.wait(i)  # before the row is in flight, whose time is limited
                    file = InputFile(value, self, target, fetch)
                    file.columns, file.i = partition.columns, i
                    yield i, file

    def _read_regions(
        self, partition: PartitionInput, control: ReadControl, block_rows: int | None
    ) -> Iterator[tuple[int, InputFile]]:
        """Yield ``(i, file)`` for each row of a partition of regions, image by image."""
        assert partition.regions is not None
        targets = _first_targets(partition)
        for i, shared in shared_rows(self, partition, control, block_rows):
            region = partition.regions[i], shared
            file = InputFile(partition.inputs[i], self, targets[i], shared.read, region)
            file.columns, file.i = partition.columns, i
            yield i, file

    def _read_groups(self, partition: PartitionInput, control: ReadControl) -> Iterator[tuple[int, InputFileGroup]]:
        """Yield ``(i, files)`` for each row of a partition of several images a row."""
        rows = [i for i, value in enumerate(partition.inputs) if value is not None]
        inputs = [value for i in rows for value in partition.inputs[i].values]
        files = self._read(dataclasses.replace(partition, inputs=inputs, targets=()), control, None, None)
        n_targets = len(partition.targets) // len(partition)
        for i in rows:
            group = InputFileGroup([next(files)[1] for _ in partition.inputs[i].values])
            group.columns, group.i = partition.columns, i
            group.targets = partition.targets[i * n_targets : (i + 1) * n_targets]
            yield i, group

    def prefetcher(
        self,
        files: dict[int, Location],
        control: ReadControl,
        output: Callable[[int], Output | None] | None = None,
    ) -> Prefetcher:
        """Return the prefetcher of files by number."""
        from pandas_imgproc.source.prefetch import Prefetcher  # imports asyncio

        return Prefetcher(self.reader, files, control, output)

    def remote_inputs(self, inputs: Sequence[Any], *, with_large: bool = False) -> dict[int, Location]:
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
                return check_not_empty(data) if isinstance(data, bytes) else data, UNKNOWN_SIGNATURE
        location = self.resolve(value)
        return checked(*(read_file(location) if isinstance(location, str) else self._read_remote(location)))

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
        return local_signature(_file_of(self.try_resolve(value)))

    def signatures(self, inputs: Sequence[Any], of: int = 0) -> list[FileSignature]:
        """Return the current signatures of the inputs' files, `UNKNOWN_SIGNATURE` for an input without one.

        Those of remote files are requested concurrently, and not at all above `MAX_STAT_REQUESTS` files; `of` is their
        number, if the inputs are some of more.
        """
        locations = [self.try_resolve(value) for value in inputs]
        signatures = [local_signature(_file_of(location)) for location in locations]
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


def _converted(files: Iterator[tuple[int, InputFile]], convert: Convert) -> Iterator[tuple[int, InputFile]]:
    for i, file in files:
        for one in file if isinstance(file, InputFileGroup) else (file,):
            one.convert = convert
        yield i, file


def _file_of(location: Location | None) -> str | RemotePath | None:
    return location.archive if isinstance(location, ArchiveMember) else location


def _is_remote(location: Location) -> bool:
    return isinstance(_file_of(location), RemotePath)


def _is_large(location: Location) -> bool:
    return isinstance(location, str) and local_signature(location)[0] > BLOCK_NBYTES


def _first_targets(partition: PartitionInput) -> Sequence[str | None]:
    n, targets = len(partition), partition.targets
    return targets[:: len(targets) // n] if targets else [None] * n
