"""A function of your own on every image of a folder, compiled by numba: the usual script, and one call.

python own_function.py                       generates 600 images, two of them broken
python own_function.py ~/photos              uses your images
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor

import numba
import numpy as np
import pandas as pd
import photographs
from PIL import Image

import pandas_imgproc


@numba.njit
def busyness(pixels: np.ndarray) -> float:
    """Return the mean difference of neighboring green values: high in a forest, low in a sky."""
    height, width, total = pixels.shape[0], pixels.shape[1], 0
    for y in range(height - 1):
        for x in range(width - 1):
            value = np.int64(pixels[y, x, 1])  # the difference of two uint8 would wrap around
            total += abs(value - pixels[y, x + 1, 1]) + abs(value - pixels[y + 1, x, 1])
    return total / (height * width)


# ---- the usual script


def of_file(path: str) -> float:
    try:
        return busyness(np.asarray(Image.open(path).convert("RGB")))
    except OSError:
        return float("nan")


def by_script(paths: list[str]) -> list[float]:
    with ProcessPoolExecutor() as pool:
        return list(pool.map(of_file, paths))


def main() -> None:
    args = photographs.arguments(__doc__)
    df = pandas_imgproc.from_glob(args.folder)

    started = time.perf_counter()
    numbers = by_script(df["image_path"].tolist())
    script = time.perf_counter() - started

    # ---- the same in one call; a function that returns a dict results in a frame

    pandas_imgproc.get_client()  # started first, so that the time below does not include its start
    started = time.perf_counter()
    result = df.img.map("image_path", busyness)
    ours = time.perf_counter() - started

    df["busyness"] = result
    histogram = df.img.map("image_path", lambda pixels: np.histogram(pixels, 8, (0, 256))[0], errors="coerce")
    pd.testing.assert_series_equal(df["busyness"], pd.Series(numbers, name="busyness"))
    print(f"\n{df.groupby('label')['busyness'].describe()}\n\n{histogram.head(3)}\n\n{result.img.failures}\n")
    print(f"the script: {script:.2f} s")
    print(f"one call:   {ours:.2f} s, {script / ours:.2f} times as fast; the failures have a reason")


if __name__ == "__main__":
    main()
