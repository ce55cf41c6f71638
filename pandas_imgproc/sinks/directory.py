"""A folder of files that are written whole or not at all: on this machine or wherever fsspec writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pandas_imgproc._atomic import atomic_write
from pandas_imgproc.source import StorageOptions


@dataclass(frozen=True)
class Directory:
    """A folder of a file system.

    Attributes
    ----------
    url : str
        As fsspec has it; of this machine an absolute path.
    options : StorageOptions
        For its file system.
    """

    url: str
    options: StorageOptions = field(default_factory=StorageOptions, compare=False)
    _opened: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __reduce__(self) -> Any:
        return Directory, (self.url, self.options)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.url

    @property
    def fs(self) -> Any:
        """The file system."""
        if "fs" not in self._opened:
            import fsspec  # costs 0.1 s

            scheme = "file" if self.is_local else self.url.partition("://")[0]
            self._opened["fs"], self._opened["path"] = fsspec.core.url_to_fs(
                self.url, **self.options.for_protocol(scheme)
            )
        return self._opened["fs"]

    def _path(self, name: str = "") -> str:
        path = self._opened["path"] if self.fs else ""
        return f"{path}/{name}" if name else path

    def create(self) -> None:
        """Make the folder, if it is not there."""
        self.fs.makedirs(self._path(), exist_ok=True)

    def names(self) -> list[str]:
        """Return the names in the folder."""
        self.fs.invalidate_cache()
        there = self.fs.ls(self._path(), detail=False) if self.fs.exists(self._path()) else []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in there)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        data: bytes = self.fs.cat_file(self._path(name))
        return data

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.fs.rm_file(self._path(name))

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, and return when it is safely kept.

        Raises
        ------
        OSError
            With path and reason.
        """
        if not self.is_local:
            self.fs.pipe_file(self._path(name), data)
            return
        target = f"{self.url}/{name}"
        try:
            with atomic_write(target, sync=True) as fd, open(fd, "wb", closefd=False) as file:
                file.write(data)
        except OSError as exc:
            raise OSError(exc.errno, f"out={target!r} cannot be written: {exc.strerror or exc}") from exc
