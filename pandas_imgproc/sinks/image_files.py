"""Results in image files, one per result, which workers write; files of the same task and image are skipped."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pandas_imgproc.errors import Failure, JournalError, OutputError, failure
from pandas_imgproc.partition import values_at
from pandas_imgproc.sinks.file_writers import CopyWriter, ImageFileWriter
from pandas_imgproc.sinks.job_spec import PATH_BITS, checksum
from pandas_imgproc.sinks.journaled import TRANSIENT_KINDS, versions, warn_version_change
from pandas_imgproc.sinks.lease import Lease, discard
from pandas_imgproc.sinks.manifest import FilePart, FileRecord, FolderManifest, TaskSpec
from pandas_imgproc.sinks.memory import ArraySpec, MemorySink
from pandas_imgproc.sinks.own_names import lease_name
from pandas_imgproc.sinks.part_file import SUFFIX, write_error
from pandas_imgproc.source import (
    UNKNOWN_SIGNATURE,
    FileSignature,
    InputFile,
    combine_signatures,
    images_of,
    is_encoded,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.partition import Mask, PartitionResult
    from pandas_imgproc.sinks.job_spec import JobContext
    from pandas_imgproc.sinks.journaled import Retry
    from pandas_imgproc.sinks.memory import PartitionWriter, Status

    Declarations = dict[str, dict[str, int]]  # for each folder, names and the checksums of their sources


class ImageFileSink(MemorySink):
    """Sink in one file per result: workers return encoded files, and the values of the job are their paths.

    Parameters
    ----------
    job : JobContext
        Job whose results are the bytes of files.
    targets : sequence of str or None, ``n * n_outputs`` long
        The files; relative ones start from the caller's working directory. Rows with the same target have the same
        image.
    """

    def __init__(self, job: JobContext, targets: Sequence[str | None]) -> None:
        super().__init__(ArraySpec.from_task(job.task, job.n))
        self._job, self._targets = job, targets
        self._task_spec = TaskSpec.from_task(job.task, versions())
        self._manifests: dict[str, FolderManifest] = {}  # by folder
        self._manifest_by_head: dict[str, FolderManifest] = {}  # by folder, as targets name it
        self._relative_folder = functools.cache(os.path.relpath)
        self._is_pending = np.zeros(job.n, dtype=bool)
        self._region_checksums = None if job.regions is None else job.regions.checksums()
        self._aliases: dict[int, int] = {}
        self._lease = Lease()

    def open(self, *, overwrite: bool, retry: Retry) -> None:
        """Find the files that are pending, and declare them in the manifests of their folders.

        Raises
        ------
        JournalError
            If a file exists that was not written by this package, or from another image or by another task.
        OSError
            If a folder cannot be created or written.
        """
        self._signatures = self._current_signatures()
        declarations: Declarations = {}
        first_by_target: dict[str, int] = {}
        for position, value in enumerate(self._job.inputs):
            target = self._targets[position * self.spec.n_outputs]
            if value is None:
                continue
            if target is not None and first_by_target.setdefault(target, position) != position:
                self._aliases[position] = first_by_target[target]
                continue
            self._is_pending[position] = self._needs_work(position, declarations, overwrite=overwrite, retry=retry)
        self._discard_leases()
        specs = {spec.digest: spec for manifest in self._manifests.values() for spec in manifest.tasks.values()}
        for spec in specs.values():
            warn_version_change(spec.versions)
        for manifest in self._manifests.values():
            manifest.compact()
        self._declare(declarations)

    def _discard_leases(self) -> None:
        """Delete the leases of a caller that was killed."""
        for folder in self._manifests:
            discard(os.path.join(folder, self._lease_name))

    # ---- existing files

    def _row_targets(self, position: int) -> list[str]:
        n_outputs = self.spec.n_outputs
        targets = self._targets[position * n_outputs : (position + 1) * n_outputs]
        return [target for target in targets if target is not None]

    def _manifest_of(self, target: str) -> tuple[FolderManifest, str]:
        """Return the manifest of a file's folder, and the name of the file."""
        head, name = os.path.split(target)
        if head not in self._manifest_by_head:
            folder = os.path.join(self._job.source.folder, head)
            try:
                manifest = self._manifests.get(folder) or FolderManifest(folder)
            except OSError as exc:
                raise write_error(folder, exc) from exc
            self._manifest_by_head[head] = self._manifests[folder] = manifest
        return self._manifest_by_head[head], name

    def _entry(self, position: int, target: str) -> _Entry:
        manifest, name = self._manifest_of(target)
        return _Entry(target, manifest, name, self._source_checksum(position, manifest.folder))

    def _current_signatures(self) -> dict[int, FileSignature]:
        """Return the present signatures of the sources of recorded files, which one batch of requests fetches."""
        positions = [i for i in range(self.n) if any(map(self._in_manifest, self._row_targets(i)))]
        images = [images_of(self._job.inputs[position]) for position in positions]
        signatures = iter(self._job.source.signatures([one for row in images for one in row]))
        return {
            position: combine_signatures([next(signatures) for _ in row])
            for position, row in zip(positions, images, strict=True)
        }

    def _in_manifest(self, target: str) -> bool:
        manifest, name = self._manifest_of(target)
        return name in manifest.files

    def _needs_work(self, position: int, declarations: Declarations, *, overwrite: bool, retry: Retry) -> bool:
        """Return whether the files of a row must be written; add those that are not declared yet to `declarations`."""
        entries = [self._entry(position, target) for target in self._row_targets(position)]
        records = [self._check_entry(entry, overwrite=overwrite) for entry in entries]
        if records and not overwrite and self._is_done(position, records, retry):
            return False
        for _, manifest, name, source_checksum in entries:
            if not manifest.is_declared(name, self._task_spec, source_checksum):
                declarations.setdefault(manifest.folder, {})[name] = source_checksum
        return True

    def _is_done(self, position: int, records: list[tuple[FileRecord, FileSignature | None]], retry: Retry) -> bool:
        """Return whether the files of a row are there, or it has failed and is not retried; set its status if so."""
        failed = next((record for record, _ in records if record.failed), None)
        if failed is not None:
            return not self._should_retry(position, failed, retry)
        if any(record.file_signature is None or record.file_signature != current for record, current in records):
            return False
        if any(self._source_changed(position, record) for record, _ in records):
            return False
        self._mark_done(position)
        return True

    def _check_entry(self, entry: _Entry, *, overwrite: bool) -> tuple[FileRecord, FileSignature | None]:
        """Return the record of a file and its present signature; raise if the file belongs to another task or image."""
        target, manifest, name, source_checksum = entry
        record, mismatch = self._find_record(entry)
        current = manifest.signature(name)
        if mismatch and current and not overwrite:
            manifest.refresh()  # another process may have written the file since the manifest was read
            record, mismatch = self._find_record(entry)
        if mismatch and current and not overwrite:
            advice = "choose another to=, or overwrite=True replaces it"
            raise JournalError(f"{target!r} exists, and {mismatch}; {advice}")
        if record is None or mismatch:
            record = FileRecord(self._task_spec.digest, source_checksum)
        return record, current

    def _find_record(self, entry: _Entry) -> tuple[FileRecord | None, str | None]:
        """Return the record of a file, and the reason why the file is not one of this call; None if it may be."""
        _, manifest, name, source_checksum = entry
        record = manifest.record(name, self._task_spec, source_checksum)
        if record is None:
            return None, "it was not written by pandas_imgproc"
        return record, manifest.mismatch(record, self._task_spec, source_checksum)

    def _source_checksum(self, position: int, folder: str) -> int:
        """Return the checksum of a row's source: of its path relative to the folder, so that both may move.

        That of a region has the checksum of the region in front: the file is still known to be of this path.
        """
        region = 0 if self._region_checksums is None else int(self._region_checksums[position]) << PATH_BITS
        return region | self._path_checksum(position, folder)

    def _path_checksum(self, position: int, folder: str) -> int:
        value = self._job.inputs[position]
        checksums = [self._checksum_of(one, folder) for one in images_of(value)]
        return checksums[0] if len(checksums) == 1 else checksum(" ".join(map(str, checksums)))

    def _checksum_of(self, value: Any, folder: str) -> int:
        path = None if is_encoded(value) else self._job.source.path(value)
        if path is None or "://" in path:
            return checksum(value if path is None else path)
        head, name = os.path.split(path)
        if name in ("", ".", ".."):
            return checksum(os.path.relpath(path, folder))
        head = self._relative_folder(head or ".", folder)
        return checksum(name if head == "." else f"{head}/{name}")

    def _source_changed(self, position: int, record: FileRecord) -> bool:
        """Return whether the source has changed since it was read; one that is gone has not."""
        current = self._signatures.get(position, UNKNOWN_SIGNATURE)
        return current not in (UNKNOWN_SIGNATURE, record.source_signature)

    def _should_retry(self, position: int, record: FileRecord, retry: Retry) -> bool:
        """Return whether a failed row is retried; record its failure if it is not."""
        assert record.failed is not None
        kind, message = record.failed
        if retry == "all" or kind in TRANSIENT_KINDS or self._source_changed(position, record):
            return True
        path = InputFile(self._job.inputs[position], self._job.source).path
        self._add_failure(failure(position, path, kind, message))
        return False

    def _add_failure(self, failed: Failure) -> None:
        self._failures.append(failed)
        self._status[failed["position"]] = len(self._failures)

    def _mark_done(self, position: int) -> None:
        rows = slice(position * self.spec.n_outputs, (position + 1) * self.spec.n_outputs)
        self._values[rows], self._status[position] = self._targets[rows], 0

    def _declare(self, declarations: Declarations) -> None:
        for folder, names in declarations.items():
            try:
                self._create_folder(folder)
                self._manifests[folder].declare(self._task_spec, names)
            except OutputError:
                raise
            except OSError as exc:
                raise write_error(folder, exc) from exc

    def _create_folder(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)

    # ---- running

    def pending(self) -> Mask:
        """Return the mask of the rows with pending files."""
        return self._is_pending

    @property
    def n_finished(self) -> int:
        """Number of rows that earlier calls have finished: neither rows without a path nor repeated ones."""
        return int((self._status >= 0).sum())

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:
        """Return the writer that is called with the finished partition at these positions."""
        folder, targets = self._job.source.folder, values_at(self._targets, positions, self.spec.n_outputs)
        folders = () if in_caller else {os.path.dirname(target) for target in targets if target is not None}
        leases = {name: self._lease.grant(os.path.join(folder, name, self._lease_name)) for name in folders}
        writer = folder, targets, self._task_spec.digest, None if in_caller else leases
        if not getattr(self._job.task, "is_copy", False):
            return ImageFileWriter(*writer)
        copied = [target for target in targets if target is not None]
        parts = {target: part for target in copied if (part := self._part(target)) is not None}
        sources = {
            target: self._source_checksum(position, os.path.join(folder, os.path.dirname(target)))
            for position, target in zip(positions, targets, strict=True)
            if target is not None
        }
        taken = frozenset(target for target in copied if self._is_file(target + SUFFIX))
        return CopyWriter(*writer, sources, parts, taken)

    def _is_file(self, target: str) -> bool:
        """Return whether a file of this or of an earlier call has a name."""
        return target in self._all_targets or self._in_manifest(target)

    @functools.cached_property
    def _all_targets(self) -> frozenset[str | None]:
        return frozenset(self._targets)

    def _part(self, target: str) -> FilePart | None:
        manifest, name = self._manifest_of(target)
        return manifest.parts.get(name)

    @functools.cached_property
    def _lease_name(self) -> str:
        """Name of the files of the lease: the same if the call is made again, and another in a concurrent one."""
        targets = [target for target in self._targets if target is not None]
        key = checksum("\n".join([self._task_spec.digest, str(len(targets)), *targets[:1], *targets[-1:]]))
        return lease_name(key)

    def commit(self, part: PartitionResult) -> None:
        """Write the files that were returned to the caller, and record the rows that have none."""
        if part.values is not None:
            self.writer(part.positions, in_caller=True)(part)
        for i in np.flatnonzero(part.status == 0).tolist():
            self._mark_done(part.positions[i])
        self._record_failures(part)
        self._record_status(part)

    def _record_failures(self, part: PartitionResult) -> None:
        records: dict[str, dict[str, Any]] = {}
        for i in np.flatnonzero(part.status > 0).tolist():
            failed, signature = part.failures[part.status[i] - 1], tuple(part.signatures[i].tolist())
            for target in self._row_targets(part.positions[i]):
                manifest, name = self._manifest_of(target)
                if not manifest.has_failed(name, self._task_spec, (failed["kind"], failed["message"]), signature):
                    records.setdefault(manifest.folder, {})[name] = (failed["kind"], failed["message"], *signature)
        for folder, names in records.items():
            self._manifests[folder].record_failures(self._task_spec.digest, names)

    def status(self) -> tuple[Status, tuple[Failure, ...]]:
        """Return the status of each row and the failures; aliases share those of the first row with their file."""
        while self._aliases:
            position, other = self._aliases.popitem()
            self._status[position] = code = self._status[other]
            if code == 0:
                self._mark_done(position)
            elif code > 0:
                shared = self._failures[code - 1]
                self._add_failure(failure(position, shared["path"], shared["kind"], shared["message"]))
        return super().status()

    def close(self) -> None:
        """Revoke the lease: workers write no more files."""
        self._lease.revoke()

    @property
    def nbytes(self) -> int:
        """Bytes of all values: 0, because the sizes of files are unknown until they are encoded."""
        return 0


class _Entry(NamedTuple):
    """File of a row, with its manifest, its name there, and the checksum of its source."""

    target: str
    manifest: FolderManifest
    name: str
    source_checksum: int
