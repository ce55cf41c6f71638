"""Results in objects of a bucket, or in files of any file system of fsspec: complete ones, many in flight."""

from __future__ import annotations

import asyncio
import functools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pandas_imgproc._timing import timed
from pandas_imgproc.sinks.image_files import ImageFileSink
from pandas_imgproc.sinks.job_spec import checksum
from pandas_imgproc.sinks.journal_storage import to_json_line
from pandas_imgproc.sinks.object_journal import JournalAppender, ObjectManifest
from pandas_imgproc.sinks.path_template import check_to, fixed_url
from pandas_imgproc.source import CopiedFile, is_encoded
from pandas_imgproc.source.upload import ObjectOutput
from pandas_imgproc.source.writer import RemoteWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.sinks.job_spec import JobContext
    from pandas_imgproc.sinks.journaled import Retry
    from pandas_imgproc.sinks.memory import PartitionWriter
    from pandas_imgproc.source import FileSignature

RECORDED_NBYTES = 2**23
"""Size from which an object is recorded at once: to write it again would cost more than a request."""


def file_sink(job: JobContext, targets: Sequence[str | None], to: object) -> ImageFileSink:
    """Return the sink of files: in local folders, or below a URL."""
    text = check_to(to)
    return ObjectFileSink(job, targets, fixed_url(text)) if "://" in text else ImageFileSink(job, targets)


class ObjectFileSink(ImageFileSink):
    """Sink in one object per result, below a URL, with one manifest for all of them.

    Workers need no lease: an object is complete, and of one task.
    """

    def __init__(self, job: JobContext, targets: Sequence[str | None], url: str) -> None:
        super().__init__(job, targets)
        self._url, self._writer = url, RemoteWriter.from_source(job.source)

    def open(self, *, overwrite: bool, retry: Retry) -> None:
        """Find the objects that are pending, and declare them in the manifest."""
        self._manifest.fetch_signatures({self._name(target) for target in self._targets if target is not None})
        super().open(overwrite=overwrite, retry=retry)

    @functools.cached_property
    def _manifest(self) -> ObjectManifest:
        manifest = ObjectManifest(self._writer, self._url)
        self._manifests[self._url] = manifest
        return manifest

    def _name(self, target: str) -> str:
        return target[len(self._url) + 1 :]

    def _manifest_of(self, target: str) -> tuple[ObjectManifest, str]:
        return self._manifest, self._name(target)

    def _checksum_of(self, value: Any, folder: str) -> int:  # noqa: ARG002  there is one for all
        """Return the checksum of a source: of its path relative to the root, which may move."""
        source = self._job.source
        path = None if is_encoded(value) else source.path(value)
        if path is None or "://" in path:
            return checksum(value if path is None else path)
        root = os.path.join(source.folder, source.root or os.sep)
        return checksum(os.path.relpath(os.path.join(source.folder, path), root))

    def _discard_leases(self) -> None:
        """Do nothing: there are none."""

    def _create_folder(self, folder: str) -> None:
        """Do nothing: a bucket has no folders, and other file systems get them with their first file."""

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:  # noqa: ARG002
        """Return the writer that is called with the finished partition at these positions."""
        n = self.spec.n_outputs
        targets = [self._targets[position * n + k] for position in positions for k in range(n)]
        names = [None if target is None else self._name(target) for target in targets]
        is_copy = getattr(self._job.task, "is_copy", False)
        writer = ObjectCopyWriter if is_copy else ObjectWriter
        return writer(self._url, names, self._task_spec.digest, self._writer, self._manifest.appender)


@dataclass(frozen=True)
class ObjectWriter:
    """Writer of a finished partition as objects, all of which are in flight together."""

    url: str
    names: Sequence[str | None]  # of the partition
    digest: str  # of the task
    writer: RemoteWriter
    journal: JournalAppender
    finished: dict[str, list[int]] = field(default_factory=dict)  # records of objects, until they are in the journal

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the objects, record them, and drop the values."""
        assert part.values is not None
        n_outputs = len(part.values) // len(part.status)
        writes = [
            self._write(name, data, part.signatures[k // n_outputs].tolist())
            for k, (name, data) in enumerate(zip(self.names, part.values, strict=True))
            if part.status[k // n_outputs] == 0 and name is not None and not isinstance(data, CopiedFile)
        ]
        with timed("write"):
            self.writer.run(self._write_all(writes))
        part.values = None
        return part

    async def _write_all(self, writes: list[Any]) -> None:
        results = await asyncio.gather(*writes, return_exceptions=True)
        await self.flush()  # also after an error: what was finished is not written again
        error = next((result for result in results if isinstance(result, BaseException)), None)
        if error is not None:
            raise error

    async def _write(self, name: str, data: bytes, source_signature: list[int]) -> None:
        signature = await self.writer.put(f"{self.url}/{name}", data)
        self.finished[name] = [*source_signature, *signature]

    async def flush(self) -> None:
        """Record the finished objects."""
        records = dict(self.finished)
        if records:
            self.finished.clear()
            await self.journal.append(to_json_line({"work": self.digest, "made": records}))


@dataclass(frozen=True)
class ObjectCopyWriter(ObjectWriter):
    """Writer of a partition of copies: large files were written before, each into its own output."""

    def output(self, i: int) -> ObjectOutput | None:
        """Return the output of row i."""
        name = self.names[i]
        if name is None:
            return None
        return ObjectOutput(f"{self.url}/{name}", self.writer, functools.partial(self._record, name))

    async def _record(self, name: str, source_signature: FileSignature, signature: FileSignature) -> None:
        self.finished[name] = [*source_signature, *signature]
        if signature[0] >= RECORDED_NBYTES:
            await self.flush()
