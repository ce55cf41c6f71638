"""Speedup of `augment` on two workers against one, in alternation, with a comparison of the pixels.

python tests/benchmarks/augment_on_workers.py FOLDER [--images 100] [--size 500] [--variants 5] [--turns 5]
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from itertools import cycle, islice
from pathlib import Path

import albumentations
import pandas as pd

import pandas_imgproc

TRANSFORM = albumentations.Compose(
    [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.GaussianBlur(p=0.5),
        albumentations.Sharpen(p=0.5),
        albumentations.ElasticTransform(p=0.5),
    ]
)


def run(paths: pd.Series, size: int, variants: int) -> tuple[float, str]:
    started = time.perf_counter()
    column = paths.img.augment(TRANSFORM, n=variants, size=size, errors="coerce", progress=False)
    seconds = time.perf_counter() - started
    return seconds, hashlib.md5(column.img.to_numpy(na_value=0).tobytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--variants", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    files = pandas_imgproc.from_glob(options.folder)["image_path"]
    paths = pd.Series(list(islice(cycle(files), options.images)))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    sums = set()
    for _ in range(options.turns):
        for workers, times in seconds.items():
            pandas_imgproc.get_client(n_workers=workers)
            run(paths.head(8), 32, 2)  # imports what the transform needs
            took, md5 = run(paths, options.size, options.variants)
            times.append(took)
            sums.add(md5)
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    print(f"one worker {statistics.median(seconds[1]):.2f} s, two {statistics.median(seconds[2]):.2f} s")
    print(f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
    print("the same pixels" if len(sums) == 1 else f"{len(sums)} DIFFERENT results")
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
