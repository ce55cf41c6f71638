"""Speed of common attempts to load images faster, relative to the usual script, in alternation.

    python tests/benchmarks/what_does_not_help.py [FOLDER] [--images 300] [--repeat 5]

Without a folder, images of noise are generated. Quote the ratios: they hold on a noisy machine. It needs numba.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import numba
import numpy as np
import pandas as pd
import ways

import pandas_imgproc

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 64

usual = partial(ways.usual, size=SIZE)
drafted = partial(ways.quickest, size=SIZE)
compiled = numba.jit(forceobj=True)(ways.usual)


def jitted(path: str) -> np.ndarray:
    return compiled(path, SIZE)


def as_floats(path: str) -> np.ndarray:
    return usual(path).astype("float32") / 255


def pool(
    kind: type[Executor], function: Callable[[str], np.ndarray], paths: list[str], workers: int, at_a_time: int
) -> None:
    with kind(workers) as executor:
        np.stack(list(executor.map(function, paths, chunksize=at_a_time)))


def ours(paths: list[str]) -> None:
    with dask.config.set(scheduler="threads"):
        pd.Series(paths).img.load_resized(SIZE, progress=False)


def tried(paths: list[str]) -> dict[str, Callable[[], None]]:
    processes = partial(pool, ProcessPoolExecutor)
    n = ways.CORES
    return {
        f"a process for each of {n} cores (the usual way, 1.0)": partial(processes, usual, paths, n, 1),
        "the same again": partial(processes, usual, paths, n, 1),
        f"{4 * n} processes": partial(processes, usual, paths, 4 * n, 1),
        f"{8 * n} processes": partial(processes, usual, paths, 8 * n, 1),
        "numba.jit around Pillow (object mode)": partial(processes, jitted, paths, n, 1),
        "16 images at a time to a process": partial(processes, usual, paths, n, 16),
        "all images at once to the processes": partial(processes, usual, paths, n, len(paths) // n),
        "float32 from the processes": partial(processes, as_floats, paths, n, 1),
        f"{n} threads": partial(pool, ThreadPoolExecutor, usual, paths, n, 1),
        f"{8 * n} threads": partial(pool, ThreadPoolExecutor, usual, paths, 8 * n, 1),
        "one core": partial(ways.loop, paths, SIZE),
        "helps: draft and reducing_gap": partial(processes, drafted, paths, n, 1),
        "helps: df.img.load_resized": partial(ours, paths),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as generated:
        folder = options.folder or noise(Path(generated), options.images)
        files = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        report(tried(list(islice(cycle(files), options.images))), options.repeat)
    pandas_imgproc.close()


def noise(folder: Path, n: int) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    import photographs

    return photographs.make(folder, n, broken=0)


def report(named: dict[str, Callable[[], None]], repeat: int) -> None:
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    for _ in range(repeat):
        for name, way in named.items():
            before, started = processor_seconds(), time.perf_counter()
            way()
            spent[name].append((time.perf_counter() - started, processor_seconds() - before))
    usual_way = next(iter(spent.values()))
    print(f"{'':52s} speed   (from, to)     processor time")
    for name, taken in spent.items():
        speed = [base / mine for (base, _), (mine, _) in zip(usual_way, taken, strict=True)]
        work = statistics.median(mine / base for (_, base), (_, mine) in zip(usual_way, taken, strict=True))
        print(f"{name:52s} {statistics.median(speed):5.2f} x ({min(speed):.2f}, {max(speed):.2f})  {work:5.2f} x")


def processor_seconds() -> float:
    """Return the CPU seconds of this process and its ended children, which depend little on other load."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
