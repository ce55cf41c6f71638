"""Cost of features and metadata relative to a decode and to published kernels, in alternation on the same photos.

    python tests/benchmarks/features.py [FOLDER] [--images 200] [--headers 10000] [--repeat 7]

Without a folder photos of 500 x 375 pixels are generated. Three ratios are printed: all features of a photo against its
decode (at most 3); all features against the kernel that opens the file for each feature, six times (at least 5 on
two cores); metadata against a decode (at least 5). Quote the ratios, not the seconds. Then groups of 100,000 hashes.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import numpy as np
import pandas as pd
from PIL import Image

import pandas_imgproc  # noqa: F401  registers .img
from pandas_imgproc.features import feature_names
from pandas_imgproc.features.duplicates import group_ids

sys.path.insert(0, str(Path(__file__).parent.parent))
from image_factory import scene

if TYPE_CHECKING:
    from collections.abc import Callable


SAME = ["file_size", "width", "height", "contrast", "mean_r", "mean_g", "mean_b", "blur", "dullness"]


def decode(paths: pd.Series) -> None:
    """Decode the photos sequentially, as `features` does on one thread."""
    for path in paths:
        np.asarray(Image.open(path).convert("RGB"))


def six_opens(paths: pd.Series, dullness: Callable[[str], float]) -> None:
    """Compute six features as in published kernels, where each opens the file again."""
    for feature in (_size, _dimensions, _average_pixel_width, _average_color, _blurriness, dullness):
        paths.apply(feature)


def _size(path: str) -> int:
    return os.stat(path).st_size


def _dimensions(path: str) -> tuple[int, int]:
    return np.asarray(Image.open(path)).shape[:2]


def _average_pixel_width(path: str) -> float:
    """Count edge pixels, as in "Ideas for Image Features", by a gradient in place of Canny."""
    gray = np.asarray(Image.open(path).convert("L")) / 255
    down, across = np.gradient(gray)
    return float((np.hypot(down, across) > 0.1).mean())


def _average_color(path: str) -> np.ndarray:
    return np.asarray(Image.open(path)).mean(axis=(0, 1))


def _blurriness(path: str) -> float:
    gray = np.asarray(Image.open(path).convert("L"), dtype=float)
    laplacian = -4 * gray[1:-1, 1:-1] + gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    return laplacian.var()


def quick_dullness(path: str) -> float:
    """Return the share of dark pixels, computed with NumPy."""
    return float((np.asarray(Image.open(path).convert("RGB")) <= 20).all(axis=2).mean())


def published_dullness(path: str) -> float:
    """Return the share of dark pixels among the most frequent colors, in a Python loop as published."""
    counts: defaultdict[tuple[int, ...], int] = defaultdict(int)
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    for pixel in map(tuple, pixels.tolist()):
        counts[pixel] += 1
    frequent = sorted(counts.items(), key=lambda item: item[1], reverse=True)[:25]
    return sum(n for color, n in frequent if max(color) <= 20) / sum(n for _, n in frequent)


def ours(paths: pd.Series, scheduler: str, include: list[str] | None = None) -> None:
    with dask.config.set(scheduler=scheduler):
        paths.img.features(include, progress=False)


def metadata(paths: pd.Series) -> None:
    with dask.config.set(scheduler="synchronous"):
        paths.img.metadata(progress=False)


def time_in_turns(ways: dict[str, object], repeat: int) -> dict[str, list[float]]:
    """Return the seconds of each alternative in each turn."""
    seconds = defaultdict(list)
    for _ in range(repeat):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def photos(folder: Path, n: int) -> list[str]:
    for seed in range(min(n, 40)):
        buffer = io.BytesIO()
        scene(500, 375, seed).save(buffer, "JPEG", quality=95)
        (folder / f"{seed:03d}.jpg").write_bytes(buffer.getvalue())
    return sorted(str(path) for path in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--headers", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = (
            photos(Path(folder), args.images) if args.folder is None else sorted(map(str, args.folder.rglob("*.jpg")))
        )
        paths = pd.Series(np.resize(files, args.images))
        compare_with_decode(paths, args.repeat)
        kernel(paths[:100], 3)
        headers(pd.Series(np.resize(files, args.headers)))
    groups()


def compare_with_decode(paths: pd.Series, repeat: int) -> None:
    ways = {
        "decode": lambda: decode(paths),
        "all features, as by default": lambda: ours(paths, "synchronous"),
        "and all five hashes": lambda: ours(paths, "synchronous", list(feature_names())),
        "brightness, blur and entropy": lambda: ours(paths, "synchronous", ["brightness", "blur", "entropy"]),
    }
    time_in_turns(ways, 1)
    seconds = time_in_turns(ways, repeat)
    one = statistics.median(seconds["decode"]) / len(paths)
    print(f"decode of a photo: {one * 1e3:.2f} ms, on one thread")
    for name in list(ways)[1:]:
        print(f"{name + ':':36s} {median_ratio(seconds[name], seconds['decode']):.2f} x the decode")


def kernel(paths: pd.Series, repeat: int) -> None:
    ways = {
        "all features": lambda: ours(paths, "threads"),
        "the same features": lambda: ours(paths, "threads", SAME),
        "six opens, all of it NumPy": lambda: six_opens(paths, quick_dullness),
        "six opens, as published": lambda: six_opens(paths, published_dullness),
    }
    seconds = time_in_turns(ways, repeat)
    for name in list(ways)[2:]:
        for other in list(ways)[:2]:
            print(f"{name + ':':36s} {median_ratio(seconds[name], seconds[other]):.1f} x {other}")


def headers(paths: pd.Series) -> None:
    seconds = time_in_turns({"decode": lambda: decode(paths), "metadata": lambda: metadata(paths)}, 2)
    print(
        f"decode of {len(paths):,} files:              "
        f"{median_ratio(seconds['decode'], seconds['metadata']):.1f} x their metadata"
    )


def groups(n: int = 100_000) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, n, dtype=np.uint64)
    hashes[n * 7 // 10 :] = hashes[: n - n * 7 // 10]  # a third has a near duplicate, at a distance of a few bits
    for _ in range(3):
        hashes[n * 7 // 10 :] ^= np.uint64(1) << rng.integers(0, 64, n - n * 7 // 10).astype(np.uint64)
    clumped = hashes & np.uint64(0xFFFFFF)
    for name, values in (("uniform", hashes), ("of 24 bits", clumped)):
        for distance in (0, 1, 2, 4, 6, 8, 10, 12, 16):
            started = time.perf_counter()
            found = group_ids(values, distance).max() + 1
            print(
                f"{n:,} hashes, {name:10s}, max_distance={distance:2d}: {time.perf_counter() - started:5.1f} s, "
                f"{found:,} groups, at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB"
            )


if __name__ == "__main__":
    main()
