"""Faults at the k-th write of a job: an error as of a full disk, or the death of the process.

As a script, ``python write_faults.py FORMAT FOLDER``, it walks through every write of small jobs of a format, and
prints a line for each promise that was broken. With ``some`` behind it, some scenarios are left out, and at each write
one of the two faults happens.
"""

from __future__ import annotations

import builtins
import errno
import os
import shutil
import sys
from pathlib import Path

import dask
import numpy as np
import pandas as pd
from PIL import Image

import pandas_imgproc

N = 3
DIED = 77
OF_DESCRIPTOR = ("pwrite", "posix_fallocate", "ftruncate", "fsync")
OF_PATH = ("replace", "link", "unlink", "mkdir")
OPTIONAL = ("link", "unlink", "O_TMPFILE", "mkdir")  # an error has another way out, or does not matter


class FaultInjector:
    """Counter of the writes below a folder, at one of which `fault` is called.

    What is counted are the functions of `os`, the opening of files, and the `write` of file objects: all writes of this
    package in a process. Half of the bytes of the faulty `write` are written.
    """

    def __init__(self, folder, number, fault):
        self.folder, self.number, self.fault, self.n, self.name = str(folder), number, fault, 0, ""
        self.real = {name: getattr(os, name) for name in (*OF_DESCRIPTOR, *OF_PATH, "open")}
        self.real_open = builtins.open

    def hit(self, name, path, before=lambda: None):
        if str(path).startswith((self.folder, "/proc/self/fd/")):
            self.n += 1
            if self.n == self.number:
                self.name = name
                before()
                self.fault()

    def __enter__(self):
        for name in OF_DESCRIPTOR:
            setattr(os, name, lambda fd, *args, name=name: self._call(name, path_of(fd), fd, *args))
        for name in OF_PATH:
            setattr(os, name, lambda path, *args, name=name, **options: self._call(name, path, path, *args, **options))
        os.open, builtins.open = self._os_open, self._open
        return self

    def __exit__(self, *_):
        builtins.open = self.real_open
        for name, function in self.real.items():
            setattr(os, name, function)

    def _call(self, name, path, *args, **options):
        self.hit(name, path)
        return self.real[name](*args, **options)

    def _os_open(self, path, flags, *args, **options):
        if flags & os.O_RDWR:
            self.hit("O_TMPFILE" if flags & os.O_TMPFILE == os.O_TMPFILE else "open", path)
        return self.real["open"](path, flags, *args, **options)

    def _open(self, path, mode="r", *args, **options):
        file = self.real_open(path, mode, *args, **options)
        if mode in ("rb", "r") or not path_of(file.fileno()).startswith(self.folder):
            return file
        return _File(file, self)


class _File:
    def __init__(self, file, injector):
        self._file, self._injector = file, injector

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, data):
        self._injector.hit("write", self._injector.folder, lambda: self._file.write(data[: len(data) // 2]))
        return self._file.write(data)


def path_of(fd):
    return os.readlink(f"/proc/self/fd/{fd}")


def full_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def save_row(folder, number, seconds):
    Image.new("RGB", (6, 4), (number, 3 * number, 7)).save(folder / f"{number % 100}.png")
    os.utime(folder / f"{number % 100}.png", (seconds, seconds))


class SmallJob:
    """Job of a few rows in a folder of its own."""

    def __init__(self, folder, kind):
        self.images, self.out, self.kind = folder / "images", folder / "out", kind
        for path in (self.images, self.out):
            path.mkdir(parents=True)
        for number in range(N + 1):
            save_row(self.images, number, 1)
        (self.images / "1.png").unlink()

    def __call__(self, n=N, size=4, **options):
        paths = pd.Series([f"{k}.png" for k in range(n)], index=[f"row {k}" for k in range(n)])
        options = {"root": self.images, "errors": "coerce", "progress": False, **options}
        with dask.config.set(scheduler="synchronous"):
            if self.kind == "download":
                return paths.img.download(self.out, **options)
            if self.kind == "files":
                return paths.img.save_resized(self.out, size=size, **options)
            return paths.img.load_resized(size, out=self.out / f"x.{self.kind}", **options)

    def read(self):
        """Return the images by label; None if there is no result."""
        if self.kind not in ("npy", "parquet"):
            return {path.name: path.read_bytes() for path in self.out.glob("*.png")}
        try:
            column = pandas_imgproc.read_result(self.out / f"x.{self.kind}")
        except FileNotFoundError:
            return None
        return {label: np.asarray(image).tobytes() for label, image in column.dropna().items()}

    def change(self, scenario):
        if scenario in ("retried", "compacted"):
            save_row(self.images, 1, 1)
        if scenario == "changed":
            save_row(self.images, 102, 5)
        if scenario == "deleted":
            finished = [*self.out.glob("x.npy"), *self.out.glob("*/part-*"), *self.out.glob("*.png")]
            for path in finished:
                path.unlink()

    def restore(self):
        shutil.rmtree(self.out)
        shutil.copytree(self.out.parent / "before", self.out)

    def files(self):
        return {path: path.read_bytes() for path in self.out.rglob("*") if path.is_file()}


SCENARIOS = {
    "first": {},
    "grown": {"n": N + 1},
    "overwritten": {"size": 6, "overwrite": True},
    "retried": {},
    "changed": {},
    "deleted": {},
    "compacted": {},
}


QUICK = {
    "npy": ("grown", "overwritten", "compacted"),
    "parquet": ("overwritten", "compacted"),
    "files": ("changed", "overwritten"),
}


def prepare(folder, kind, scenario):
    """Return a job whose next call is that of a scenario, what its reader sees before, and what at the end."""
    job = SmallJob(folder, kind)
    before = None
    if scenario != "first":
        job(npartitions=N if scenario == "compacted" else None)  # a line of the journal for each
        before = job.read()
        job.change(scenario)
    shutil.copytree(job.out, folder / "before")
    job(**SCENARIOS[scenario])
    return job, before if scenario != "deleted" else {}, job.read()


def broken_by_death(job, scenario, number, before, end):
    """Yield the promises that a process breaks that dies at a write; None if it has finished before."""
    job.restore()
    pid = os.fork()
    if not pid:
        with FaultInjector(job.out, number, lambda: os._exit(DIED)):
            job(**SCENARIOS[scenario])
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != DIED:
        yield None
    yield from _lost_rows(job, before, end)
    yield from _wrong_end(job, scenario, end)


def broken_by_full_disk(job, scenario, number, before, end):
    """Yield the promises that a call breaks that fails at a write; None if it has no such write."""
    job.restore()
    files, failed = job.files(), False
    with FaultInjector(job.out, number, full_disk) as injector:
        try:
            job(**SCENARIOS[scenario])
        except OSError:
            failed = True
    if not injector.name:
        yield None
    if not failed and injector.name not in OPTIONAL and end != job.read():
        yield f"the error of {injector.name} is lost"
    yield from _lost_rows(job, before, end)
    if failed and scenario in ("grown", "overwritten"):
        try:
            job()
        except pandas_imgproc.JournalError:
            if files == job.files():
                yield "the call before is refused, though nothing has changed"
    if failed and job.kind == "npy" and scenario == "grown" and len(np.load(job.out / "x.npy")) not in (N, N + 1):
        yield "np.load"
    yield from _wrong_end(job, scenario, end)


def _lost_rows(job, before, end):
    now = job.read()
    is_new = now is not None and before is not None and now.items() <= end.items()
    if before is not None and not is_new and not before.items() <= (now or {}).items():
        # Only what the call itself replaces may be replaced.
        replaced = {label for label in before if before[label] != end.get(label)}
        lost = {label for label, image in before.items() if (now or {}).get(label) not in (image, end.get(label))}
        if lost - replaced or now is None:
            yield f"lost rows {sorted(lost)}"


def _wrong_end(job, scenario, end):
    options = dict(SCENARIOS[scenario])
    options.pop("overwrite", None)
    try:
        job(**options)
    except pandas_imgproc.JournalError:
        job(**SCENARIOS[scenario])
    if job.read() != end:
        yield "another end"


def walk(kind, folder, *, some=False):
    """Yield a line for each broken promise of a format, and one with the number of writes."""
    n_writes = 0
    for scenario in QUICK[kind] if some else SCENARIOS:
        job, before, end = prepare(folder / scenario, kind, scenario)
        for start, fault in enumerate((broken_by_full_disk, broken_by_death), 1):
            for number in range(start, 200, 2) if some else range(1, 200):
                broken = list(fault(job, scenario, number, before, end))
                if None in broken:
                    break
                n_writes += 1
                yield from (f"{kind}, {scenario}, write {number}, {fault.__name__}: {promise}" for promise in broken)
    yield f"{n_writes} writes"


if __name__ == "__main__":
    for line in walk(sys.argv[1], Path(sys.argv[2]), some="some" in sys.argv):
        print(line, flush=True)
