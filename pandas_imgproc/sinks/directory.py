"""Directory of files that are written atomically, local or on any file system of fsspec."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from pandas_imgproc._atomic import atomic_write
from pandas_imgproc.config import setting
from pandas_imgproc.source import FOLLOW_ALL, StorageOptions, open_filesystem


@dataclass(frozen=True)
class Directory:
    """Directory of a file system."""

    url: str  # as in fsspec; of a local directory the absolute path
    options: StorageOptions = field(default_factory=StorageOptions, compare=False)

    def __reduce__(self) -> Any:
        return Directory, (self.url, self.options)

    @property
    def is_local(self) -> bool:
        """Whether the directory is local."""
        return "://" not in self.url

    @functools.cached_property
    def _fs_and_path(self) -> tuple[Any, str]:
        options = StorageOptions() if self.is_local else self.options
        return open_filesystem(self.url, options, FOLLOW_ALL, str(setting("user-agent")))

    def create(self) -> None:
        """Create the directory, unless it exists."""
        fs, path = self._fs_and_path
        fs.makedirs(path, exist_ok=True)

    def names(self) -> list[str]:
        """Return the sorted names of the entries."""
        fs, path = self._fs_and_path
        fs.invalidate_cache()
        entries = fs.ls(path, detail=False) if fs.exists(path) else []
        return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        fs, path = self._fs_and_path
        data: bytes = fs.cat_file(f"{path}/{name}")
        return data

    def remove(self, name: str) -> None:
        """Remove a file."""
        fs, path = self._fs_and_path
        fs.rm_file(f"{path}/{name}")

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        fs, path = self._fs_and_path
        return int(fs.info(f"{path}/{name}")["size"])

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically, and return when its bytes are durable.

        Raises
        ------
        OSError
            With path and reason.
        """
        if not self.is_local:
            fs, path = self._fs_and_path
            fs.pipe_file(f"{path}/{name}", data)
            return
        target = f"{self.url}/{name}"
        try:
            with atomic_write(target, sync=True) as fd, open(fd, "wb", closefd=False) as file:
                file.write(data)
        except OSError as exc:
            raise OSError(exc.errno, f"out={target!r} cannot be written: {exc.strerror or exc}") from exc
