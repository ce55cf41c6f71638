"""Overhead of a call: small calls, long ones, one worker and two, the caller's memory.

    python tests/benchmarks/own.py FOLDER [--repeat 7] [--only memory]

Ratios are medians over the repeats of one run, with minimum and maximum.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import numpy as np
import pandas as pd
import psutil
from PIL import Image

import pandas_imgproc

if TYPE_CHECKING:
    from collections.abc import Callable


def baseline(paths: pd.Series, size: int) -> np.ndarray:
    return np.stack([np.array(Image.open(path).convert("RGB").resize((size, size))) for path in paths])


def ours(paths: pd.Series, size: int) -> np.ndarray:
    return paths.img.load_resized(size, progress=False).img.to_numpy()


def seconds(call: Callable[..., object], *args: object) -> float:
    started = time.perf_counter()
    call(*args)
    return time.perf_counter() - started


def report(text: str, ratios: list[float]) -> None:
    print(f"{text}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def rows(files: list[str], n: int) -> pd.Series:
    return pd.Series(list(islice(cycle(files), n)))


def small(files: list[str], repeat: int) -> None:
    """Time 100 rows, with a running cluster, against a loop."""
    pandas_imgproc.get_client()
    for size in (64, 224):
        some = rows(files, 100)
        ours(some, size)
        report(f"a loop over 100 rows to {size} took, times ours", [
            seconds(baseline, some, size) / seconds(ours, some, size) for _ in range(repeat)
        ])  # fmt: skip


def eightfold(files: list[str], repeat: int) -> None:
    """Time eight times the rows."""
    pandas_imgproc.get_client()
    few, many = rows(files, 1000), rows(files, 8000)
    with dask.config.set(scheduler="distributed"):
        ours(few, 64)
        report("8 times the rows took, times the time", [
            seconds(ours, many, 64) / seconds(ours, few, 64) for _ in range(repeat)
        ])  # fmt: skip


def two_workers(files: list[str], repeat: int) -> None:
    """Time one worker against two."""
    some, took = rows(files, 1000), {1: [], 2: []}
    with dask.config.set(scheduler="distributed"):
        for _ in range(repeat):
            for workers, times in took.items():
                pandas_imgproc.get_client(n_workers=workers)
                ours(some.head(100), 64)
                times.append(seconds(ours, some, 64))
    report("one worker took, times two", [one / two for one, two in zip(took[1], took[2], strict=True)])


def memory(files: list[str], repeat: int) -> None:
    """Measure the growth of the caller's memory."""
    process = psutil.Process(os.getpid())
    pandas_imgproc.get_client()
    paths = rows(files, 100_000)
    ours(paths.head(1000), 64)
    before = process.memory_info().rss
    result = paths.img.load_resized(64, progress=False)
    block = result.img.to_numpy(na_value=0)
    block[::1, 0, 0, 0].sum()  # every page was looked at
    grown = process.memory_info().rss - before
    print(f"100,000 rows of 64: the caller grew by {grown / 1e6:.0f} MB, {grown / block.nbytes:.3f} of the result")


PARTS = {"small": small, "eightfold": eightfold, "two workers": two_workers, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    files = sorted(str(path) for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for name, part in PARTS.items():
        if options.only in (None, name):
            part(files, options.repeat)
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
