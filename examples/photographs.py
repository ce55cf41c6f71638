"""Images for the examples, if you pass none: noise with the spectrum of photos, as JPEG files of a camera."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image


def make(folder: Path, n: int, size: tuple[int, int] = (500, 375), broken: int = 2) -> Path:
    """Write `n` JPEG files in class folders, the last few of them truncated, and return the folder."""

    def write(number: int) -> None:
        path = folder / ("dunes", "clouds", "leaves")[number % 3] / f"IMG_{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(number, size).save(path, quality=90)
        if number >= n - broken:
            path.write_bytes(path.read_bytes()[:3000])

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(n)))
    print(f"Generated {n} images in {folder}, {broken} of them truncated", flush=True)
    return folder


def photo(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return a sum of noise of decreasing grain and strength."""
    rng, levels = np.random.default_rng(seed), np.full((size[1], size[0], 3), 128.0)
    for step in (100, 40, 15, 6, 2):
        coarse = rng.integers(0, 256, (size[1] // step + 1, size[0] // step + 1, 3), dtype=np.uint8)
        levels += (np.asarray(Image.fromarray(coarse).resize(size), float) - 128) * step / 160
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def arguments(description: str | None, images: int = 600) -> argparse.Namespace:
    """Parse the command line of an example."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="your images; by default some are generated")
    parser.add_argument("--to", type=Path, default=Path("example_output"), help="where to write (default: %(default)s)")
    parser.add_argument("--images", type=int, default=images, help="number of generated images (default: %(default)s)")
    args = parser.parse_args()
    if args.folder is None:
        args.folder = make(args.to / "photographs", args.images)
    return args
