"""Writers of partitions whose results are files: encoded images, and copies."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pandas_imgproc._atomic import atomic_write
from pandas_imgproc._timing import timed
from pandas_imgproc.sinks.manifest import record_written
from pandas_imgproc.sinks.part_file import PartFile, write_error
from pandas_imgproc.source import CopiedFile, signature_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.sinks.lease import LeaseHandle
    from pandas_imgproc.sinks.manifest import FilePart


@dataclass(frozen=True)
class ImageFileWriter:
    """Writer of a finished partition as files, each of them atomically.

    A worker that outlives its failed job must not write over files of the next one, so it checks its lease before each
    of them. The caller itself has none.
    """

    folder: str  # from which relative targets start
    targets: Sequence[str | None]  # of the partition
    digest: str  # of the task
    leases: Mapping[str, LeaseHandle] | None  # by folder, as targets name it

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the files and drop the values; return them to the caller without a valid lease."""
        assert part.values is not None
        n_outputs = len(part.values) // len(part.status)
        for k, data in enumerate(part.values):
            target, i = self.targets[k], k // n_outputs
            if part.status[i] != 0 or target is None or isinstance(data, CopiedFile):
                continue
            if not self._may_write(target):
                return part
            with timed("write"):
                self._write(os.path.join(self.folder, target), data, part.signatures[i].tolist())
        part.values = None
        return part

    def _may_write(self, target: str) -> bool:
        return self.leases is None or self.leases[os.path.dirname(target)].is_valid()

    def _write(self, path: str, data: bytes, source_signature: list[int]) -> None:
        size, mtime = source_signature
        try:
            with atomic_write(path) as fd:
                with open(fd, "wb", closefd=False) as file:
                    file.write(data)
                # First recorded, then named: every file is known, however this process ends.
                record_written(path, self.digest, (size, mtime), signature_of(os.fstat(fd)))
        except OSError as exc:
            raise write_error(path, exc) from exc


@dataclass(frozen=True)
class CopyWriter(ImageFileWriter):
    """Writer of a partition of copies: large files were written before, each into its own output."""

    sources: Mapping[str, int]  # checksums of the sources, by target
    parts: Mapping[str, FilePart]  # of earlier attempts, by target
    taken: frozenset[str]  # targets beside which the name of the part is that of another file

    def output(self, i: int) -> PartFile | None:
        """Return the output of row i; None without a valid lease, so that the file is returned to the caller."""
        target = self.targets[i]
        if target is None or not self._may_write(target):
            return None
        path = os.path.join(self.folder, target)
        may_write = functools.partial(self._may_write, target)
        state = self.digest, self.sources[target], self.parts.get(target)
        return PartFile(path, *state, may_write, is_free=target not in self.taken)
