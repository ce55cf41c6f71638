"""Identity of a job: its task, and checksums of its inputs and labels, compared before the job is resumed."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc.sinks.arrow_columns import storable_index
from pandas_imgproc.source import RowInputs, content_bytes, is_encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.regions import Regions
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class JobContext:
    """Job as a sink knows it: its task, its inputs with the source that reads them, and the index of the frame."""

    task: Task
    index: pd.Index[Any]
    inputs: Sequence[Any]  # None where missing
    source: Source
    columns: pd.DataFrame | None = None  # other columns that the task uses
    regions: Regions | None = None  # boxes and frames of the rows

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.inputs)


@dataclasses.dataclass(frozen=True)
class JobSpec:
    """Identity of a job, compared before the job is continued."""

    task: dict[str, Any]  # its fingerprint, with root and suffix
    paths: Array  # checksums of the inputs: uint32, shape (n,)
    labels: Array  # checksums of the labels: uint32, shape (n,)
    n_outputs: int | None = None  # rows of the result for each row of the frame

    @classmethod
    def from_job(cls, job: JobContext) -> JobSpec:
        """Return the identity of a job."""
        task = {**job.task.fingerprint(), "root": job.source.redacted_root, "suffix": job.source.suffix}
        checksums = _checksums(job.inputs), _label_checksums(job.index)
        if job.columns is not None:
            checksums = checksums[0] ^ _column_checksums(job.columns), checksums[1]
        if job.regions is not None:
            checksums = checksums[0] ^ job.regions.checksums(), checksums[1]
        return cls(json.loads(json.dumps(task)), *checksums, job.task.n_outputs)

    def __len__(self) -> int:
        return len(self.paths)


PATH_BITS = 32
"""Bits of the checksum of a source that are those of its path."""


def checksum(value: Any) -> int:
    """Return the CRC-32 of an input or a label."""
    if type(value) is str:  # nearly always
        return zlib.crc32(value.encode(errors="surrogatepass"))
    if isinstance(value, RowInputs):
        return zlib.crc32(b"".join(checksum(one).to_bytes(4, "little") for one in value.values))
    if is_encoded(value):
        value = content_bytes(value["bytes"] if isinstance(value, Mapping) else value)
    elif isinstance(value, Mapping):
        value = value.get("path")
    return zlib.crc32(value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass"))


def _checksums(values: Any) -> Array:
    return np.fromiter(map(checksum, values), dtype=np.uint32, count=len(values))


def _column_checksums(columns: pd.DataFrame) -> Array:
    try:
        return pd.util.hash_pandas_object(columns, index=False).to_numpy().astype(np.uint32)
    except TypeError:  # values that are not hashable
        return _checksums([repr(row) for row in columns.itertuples(index=False, name=None)])


def _label_checksums(index: pd.Index[Any]) -> Array:
    try:
        return pd.util.hash_pandas_object(storable_index(index), index=False).to_numpy().astype(np.uint32)
    except TypeError:  # labels of several types
        return _checksums(index)


def first_mismatching_row(old: JobSpec, new: JobSpec) -> str | None:
    """Return a text that names the first row in which two jobs differ; None if the old one begins the new one."""
    if len(new) < len(old):
        return f"it has {len(old):,} rows, the frame has {len(new):,}"
    for name in ("paths", "labels"):
        differs = np.flatnonzero(getattr(old, name) != getattr(new, name)[: len(old)])
        if len(differs):
            other = " or value of with_columns=" if new.task.get("column_names") else ", or another box or frame"
            return f"row {differs[0]} has another {name[:-1]}{other if name == 'paths' else ''}"
    return None


def first_mismatch(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Return a text that names the first value in which two fingerprints differ; None if they are equal.

    Examples
    --------
    >>> first_mismatch({"decode_options": {"size": [64, 64]}}, {"decode_options": {"size": [32, 32]}})
    'size was [64, 64] and is [32, 32]'
    """
    for name in dict.fromkeys([*old, *new]):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            nested = first_mismatch(a, b)
            if nested:
                return nested
        elif a != b:
            return f"{name} was {a!r} and is {b!r}"
    return None
