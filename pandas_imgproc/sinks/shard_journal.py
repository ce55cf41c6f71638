"""Names and journal of the shards of a job."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pandas_imgproc.errors import Failure, failure
from pandas_imgproc.sinks.directory import Directory
from pandas_imgproc.sinks.journal_storage import (
    FORMAT,
    JournalStorage,
    JsonJournal,
    LocalJournal,
    ObjectStoreJournal,
    check_failure_kind,
    check_format,
)
from pandas_imgproc.sinks.object_folder import ObjectFolder
from pandas_imgproc.source.redaction import redact_url
from pandas_imgproc.source.writer import RemoteWriter

if TYPE_CHECKING:
    from pandas_imgproc.source import Source

_FIELD = re.compile(r"\{shard(?::0?\d*d?)?\}")
_TEMPLATE = re.compile(r"(?:[^{}]*/)?[^{}/]*" + _FIELD.pattern + r"[^{}/]*", re.DOTALL)


@dataclass(frozen=True)
class ShardTemplate:
    """Names of the shards of a job: a parsed ``to=``.

    Attributes
    ----------
    to : str
        Folder and name, with the field ``{shard}`` in the name.
    source : Source
        Source of the images, with the options of the file system of a URL.
    """

    to: str
    source: Source

    def __post_init__(self) -> None:
        if _TEMPLATE.fullmatch(self.to) is None:
            raise ValueError(
                f"to={self.redacted!r} does not number the shards; give a folder and a name with one field {{shard}}, "
                "such as 'shards/train-{shard:06d}.tar'"
            )

    @property
    def redacted(self) -> str:
        """Folder and name without secrets."""
        return redact_url(self.to)

    @functools.cached_property
    def folder(self) -> Directory | ObjectFolder:
        """Folder of the shards."""
        folder, slash, _ = self.to.rpartition("/")
        if "://" in self.to:
            return ObjectFolder(folder, RemoteWriter.from_source(self.source))
        return Directory(os.path.abspath(folder or slash or "."))

    def name(self, shard: int) -> str:
        """Return the file name of a shard."""
        return self.path(shard).rpartition("/")[2]

    def path(self, shard: int) -> str:
        """Return the path or URL of a shard, as the user writes it."""
        return self.to.format(shard=shard)

    def number(self, name: str) -> int | None:
        """Return the number of the shard that has a file name; None for another file."""
        before, after = _FIELD.split(self.to.rpartition("/")[2])
        match = re.fullmatch(rf"{re.escape(before)}(\d+){re.escape(after)}", name)
        number = int(match[1]) if match else -1
        return number if match and self.name(number) == name else None

    def journal_storage(self) -> JournalStorage:
        """Return the storage of the journal, a hidden file or folder beside the shards."""
        folder = self.folder
        path = f"{folder.url}/.{_FIELD.sub('shard', self.to.rpartition('/')[2])}.jsonl"
        if isinstance(folder, Directory):
            return LocalJournal(path)
        return ObjectStoreJournal(ObjectFolder(path, folder.writer))


@dataclass(frozen=True)
class Shard:
    """Finished shard: its number, the rows that it was made of, and its file."""

    number: int
    rows: range
    digest: int  # of the inputs and the columns of its rows
    n: int  # rows with an image
    nbytes: int
    failures: tuple[Failure, ...]


class ShardJournal(JsonJournal):
    """Journal of the finished shards.

    Attributes
    ----------
    task : dict or None
        Fingerprint of the job.
    shards : dict of int to Shard
    begun : set of int
        Shards that may have a file without being finished: the process was killed between the two.
    """

    _storage: JournalStorage
    _intact = "the shards are intact; overwrite=True writes all of them again"

    def _reset(self) -> None:
        self.task: dict[str, Any] | None = None
        self.shards: dict[int, Shard] = {}
        self.begun: set[int] = set()

    def _replay(self, line: Any) -> None:
        if "journal" in line:
            check_format(line)
            self._reset()
            self.task = dict(line["task"])
        elif "begun" in line:
            self.begun.add(int(line["begun"]))
        else:
            shard = Shard(
                int(line["shard"]), range(*map(int, line["rows"])), int(line["digest"]), int(line["n"]),
                int(line["nbytes"]), tuple(map(_parse_failure, line["failures"])),
            )  # fmt: skip
            self.shards[shard.number] = shard

    def start(self, task: dict[str, Any]) -> None:
        """Record the job; nothing of another one counts any longer."""
        self._append({"journal": FORMAT, "anew": True, "task": task})
        self._reset()
        self.task = task

    def begin(self, number: int) -> None:
        """Record that the file of a shard is about to get its name."""
        self._append({"begun": number})
        self.begun.add(number)

    def finish(self, shard: Shard) -> None:
        """Record a finished shard."""
        rows = [shard.rows.start, shard.rows.stop]
        self._append({"shard": shard.number, "rows": rows, "digest": shard.digest, "n": shard.n,
                      "nbytes": shard.nbytes, "failures": shard.failures})  # fmt: skip
        self.shards[shard.number] = shard

    def close(self) -> None:
        """Release the lock."""
        self._storage.close()


def _parse_failure(line: Any) -> Failure:
    return failure(int(line["position"]), str(line["path"]), check_failure_kind(line["kind"]), str(line["message"]))
