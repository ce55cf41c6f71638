"""Cost of resumed rows: `python tests/benchmarks/resumed_rows.py [rows] [every] [side] [size]`.

A job runs over `rows` paths of which each `every`-th is missing, and again twice: while they are still missing, and
when they are there. Printed is the CPU time of the caller, with the scheduler of the managed cluster, and its ratio to
the first run; the partitions; and the lines and the bytes a row of the journal. Images have `side` pixels and are
loaded at `size`. Targets: half of 1000 photos (`1000 2 640 64`) at most 1.2 times the first run, 1 % of a million rows
(`1000000 100 9 16`) at most 5 s.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import dask
import numpy as np
import pandas as pd
from PIL import Image

import pandas_imgproc
from pandas_imgproc.execution import JobState, collect_stats

N_FILES = 1000
METHODS = ["npy", "parquet", "files"]


def make_images(folder: Path, side: int) -> None:
    """Write images of noise, which JPEG hardly compresses."""
    rng = np.random.default_rng(0)
    for k in range(N_FILES):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{k}.jpg", quality=50)


def paths_of(folder: Path, n: int, every: int) -> pd.DataFrame:
    """Return a frame of which each `every`-th path is in a folder that does not exist yet."""
    names = np.arange(n) % min(n, N_FILES)
    folders = np.where(np.arange(n) % every == 1, "late", "images")
    return pd.DataFrame({"path": [f"{folder}/{a}/{k}.jpg" for a, k in zip(folders, names, strict=True)]})


def run(frame: pd.DataFrame, out: Path, size: int) -> tuple[float, float, int]:
    """Return the CPU time of the caller, the wall time and the number of rows of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    with collect_stats() as stats:
        if out.suffix == ".files":
            frame.img.save_resized("path", f"{out}/{{position}}.png", size=size, errors="coerce", progress=False)
        else:
            frame.img.load_resized("path", size=size, out=out, errors="coerce", progress=False)
    return time.process_time() - cpu, time.perf_counter() - wall, stats[0].rows


def journal(out: Path) -> bytes:
    """Return the journal of a result."""
    names = {
        ".npy": Path(f"{out}.journal"),
        ".parquet": out / "_journal.jsonl",
        ".files": out / ".pandas-imgproc.jsonl",
    }
    return names[out.suffix].read_bytes()


def measure(folder: Path, frame: pd.DataFrame, method: str, size: int) -> None:
    """Print the cost of a job and of its resumptions."""
    out, first, n_partitions = folder / f"x.{method}", 0.0, []
    finish = JobState.finish
    JobState.finish = lambda state, result: (n_partitions.append(1), finish(state, result))[1]
    for name in ("first run", "still missing", "there", "all done"):
        if name == "there":
            shutil.copytree(folder / "images", folder / "late")
        cpu, wall, rows = run(frame, out, size)
        first = first or cpu
        data, peak = journal(out), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{method:8}{name:14}{rows:9,} rows{cpu:8.2f} s of CPU ({cpu / first:5.2f} x){wall:8.1f} s"
            f"{len(n_partitions):6} partitions{len(data.splitlines()):8} lines{len(data) / len(frame):7.1f} B a row"
            f"{peak:6} MB at most",
            flush=True,
        )
        n_partitions.clear()
    shutil.rmtree(folder / "late")
    JobState.finish = finish


def main() -> None:
    """Measure all formats on the managed cluster."""
    n, every, side, size, *methods = [*sys.argv[1:], *["2000", "2", "64", "16"][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as name, dask.config.set(scheduler="distributed"):
        folder = Path(name)
        (folder / "images").mkdir()
        make_images(folder / "images", int(side))
        frame = paths_of(folder, int(n), int(every))
        frame["path"].img.load_resized(size=4, root="/", errors="coerce", progress=False)  # starts the cluster
        for method in methods or METHODS:
            measure(folder, frame, method, int(size))
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
