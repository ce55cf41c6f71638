"""Archives for tests: zip files as Windows and other systems write them, and plain and compressed tar files."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pyarrow as pa


class ForeignZipInfo(zipfile.ZipInfo):
    """Member of a zip with the bytes of its name as given, as another system writes it."""

    def __init__(self, raw, system=0, extra=b"", flags=0):
        super().__init__("x", (2024, 1, 2, 3, 4, 6))
        self.raw, self.create_system, self.extra, self.flags = raw, system, extra, flags

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits | self.flags


def foreign_zip(files, **options):
    """Return a zip whose names are bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for raw, data in files.items():
            info = ForeignZipInfo(raw, **options)
            info.filename = raw.decode("latin1")
            archive.writestr(info, data)
    return buffer.getvalue()


def make_zip(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def make_tar(files, mode="w", links=()):
    """Return a tar; `links` are names, targets and types."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w" if mode == "w:zst" else mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    data = buffer.getvalue()
    return pa.compress(data, "zstd", asbytes=True) if mode == "w:zst" else data
