"""Time `load_resized` against the process pool that people write, on the same files, turn by turn in one run.

    python tests/benchmarks/against_process_pool.py FOLDER [--images 1000] [--sizes 64 224 600] [--repeat 5]

Quote the ratios, not the seconds: they hold on a noisy machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import dask
import numpy as np
import pandas as pd
from dask.system import CPU_COUNT
from PIL import Image

import pandas_imgproc


def usual(path: str, size: int) -> np.ndarray:
    """Load one picture as published scripts do."""
    return np.array(Image.open(path).convert("RGB").resize((size, size)))


def expert(path: str, size: int) -> int:
    """Load one picture by the fastest kernel Pillow allows, and return nothing: the limit."""
    with Image.open(path) as image:
        image.draft("RGB", (size * 2, size * 2))
        array = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0))
    return int(array[0, 0, 0])


def process_pool(paths: pd.Series, size: int, chunksize: int) -> np.ndarray:
    with ProcessPoolExecutor(CPU_COUNT) as pool:
        return np.stack(list(pool.map(partial(usual, size=size), paths, chunksize=chunksize)))


def limit(paths: pd.Series, size: int, pool: ProcessPoolExecutor) -> None:
    list(pool.map(partial(expert, size=size), paths, chunksize=16))


def ours(paths: pd.Series, size: int, scheduler: str) -> np.ndarray:
    with dask.config.set(scheduler=scheduler):
        return paths.img.load_resized(size, progress=False).img.to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224, 600])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    files = sorted(str(path) for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = pd.Series(list(islice(cycle(files), options.images)))
    pandas_imgproc.get_client()
    with ProcessPoolExecutor(CPU_COUNT, multiprocessing.get_context("fork")) as warm:
        for size in options.sizes:
            ways = {
                "process pool": partial(process_pool, paths, size, 1),
                "pool, 16 a time": partial(process_pool, paths, size, 16),
                "bare kernel": partial(limit, paths, size, warm),
                "cluster": partial(ours, paths, size, "distributed"),
                "in line": partial(ours, paths, size, "threads"),
            }
            for way in ways.values():
                way()
            seconds = {name: [] for name in ways}
            for _ in range(options.repeat):
                for name, way in ways.items():
                    started = time.perf_counter()
                    way()
                    seconds[name].append(time.perf_counter() - started)
            for name, taken in seconds.items():
                against = {
                    other: statistics.median(b / a for a, b in zip(taken, seconds[other], strict=True))
                    for other in ("process pool", "pool, 16 a time", "bare kernel")
                }
                print(
                    f"{size:4d} {name:15s} {options.images / statistics.median(taken):6.0f} images/s; "
                    + "; ".join(f"{ratio:.2f} x the {other}" for other, ratio in against.items())
                )
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
