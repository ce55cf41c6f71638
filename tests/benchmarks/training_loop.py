"""Time of a pass of a training loop, relative to a loader of PyTorch around Pillow, in alternation.

    python tests/benchmarks/training_loop.py [FOLDER] [--images 500] [--repeat 3]

Without a folder, images of noise are generated. Quote the ratios: they hold on a noisy machine. It needs torch. The
loop computes nothing, in PyTorch (a small convolutional network on one thread), or in Python (30 ms a batch).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from PIL import Image

import pandas_imgproc  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SIZE, BATCH_SIZE = 224, 64

net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 16, 7, 4), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 3, 2), torch.nn.AdaptiveAvgPool2d(1)
).eval()


class Usual(torch.utils.data.Dataset):
    """The usual dataset: Pillow in the processes of the loader."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[int, np.ndarray]:
        with Image.open(self.paths[i]) as image:
            return i, np.array(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def compute_nothing(_: object) -> None: ...


def compute_in_torch(images: object) -> None:
    with torch.inference_mode():
        net(torch.as_tensor(images).permute(0, 3, 1, 2).float() / 255)


def compute_in_python(_: object) -> None:
    sum(i for i in range(1_000_000))


def seconds(loop: Iterable[tuple[object, object]], compute: Callable[[object], None]) -> float:
    started = time.perf_counter()
    for _, images in loop:
        compute(images)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as generated:
        folder = Path(args.folder or generated)
        if args.folder is None:
            rng = np.random.default_rng(0)
            for k in range(50):
                noise = rng.integers(0, 256, (37, 50, 3), dtype=np.uint8)
                Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{k}.jpg")
        paths = list(islice(cycle(map(str, sorted(folder.glob("*.jpg")))), args.images))
        compare(paths, args.repeat)


def compare(paths: list[str], repeat: int) -> None:
    column, usual = pd.Series(paths), Usual(paths)
    dataset = column.img.dataset(SIZE, missing=0)
    loops = {
        "batches": lambda: column.img.batches(SIZE, batch_size=BATCH_SIZE, shuffle=True),
        "dataset, 2 processes": lambda: torch.utils.data.DataLoader(dataset, BATCH_SIZE, shuffle=True, num_workers=2),
    }
    for compute in (compute_nothing, compute_in_torch, compute_in_python):
        ratios: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(repeat):
            theirs = seconds(torch.utils.data.DataLoader(usual, BATCH_SIZE, shuffle=True, num_workers=2), compute)
            for name, loop in loops.items():
                ratios[name].append(seconds(loop(), compute) / theirs)
        for name, values in ratios.items():
            print(f"{compute.__name__:18} {name:22} {statistics.median(values):.2f} of the usual loader's time")


if __name__ == "__main__":
    main()
