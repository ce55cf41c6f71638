"""Fidelity of resized pixels: PSNR in dB to the convolution in float64, of each engine.

    python tests/benchmarks/fidelity.py FOLDER-OF-PHOTOS [--n 25]

Images are resized from their full size. The table is the one of ``docs/pixels.md``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pandas_imgproc import codec

sys.path.insert(0, str(Path(__file__).parent.parent / "codec"))

from convolution import convolved, psnr_to

CASES = [("RGB", "bicubic"), ("RGB", "bilinear"), ("RGB", "lanczos"), ("L", "bicubic"), ("RGBA", "bicubic")]
SIZES = (28, 64, 224, 600)


def visible(levels: np.ndarray) -> np.ndarray:
    """Return colors weighted by alpha, and alpha."""
    levels = np.clip(levels.astype(float), 0, 255)
    if levels.ndim == 2 or levels.shape[2] != 4:
        return levels
    return np.concatenate([levels[..., :3] * levels[..., 3:] / 255, levels[..., 3:]], -1)


def in_mode(path: Path, mode: str) -> Image.Image:
    image = Image.open(path).convert("RGB")
    if mode == "RGBA":  # its own brightness, moved, is the alpha
        image.putalpha(Image.fromarray(np.roll(np.asarray(image.convert("L")), 40, axis=1)))
    return image.convert(mode)


def psnr(images: list[Image.Image], size: int, resample: str) -> dict[str, float]:
    results: dict[str, list[float]] = {"simd": [], "pillow": []}
    filter_ = Image.Resampling[resample.upper()]
    for image in images:
        exact = visible(convolved(np.asarray(image), (size, size), resample))
        options = codec.decode_options(size, mode=image.mode, resample=resample, engine="simd")
        for name, resized in (("simd", codec.load(image, options)), ("pillow", image.resize((size, size), filter_))):
            results[name].append(psnr_to(exact, visible(np.asarray(resized))))
    return {name: statistics.mean(values) for name, values in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=25)
    args = parser.parse_args()
    paths = sorted(args.folder.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // args.n)][: args.n]
    print("| mode, filter |", " | ".join(f"{size}²" for size in SIZES), "|")
    print("|---" * (len(SIZES) + 1) + "|")
    for mode, resample in CASES:
        images = [in_mode(path, mode) for path in paths]
        cells = [psnr(images, size, resample) for size in SIZES]
        print(f"| {mode}, `{resample}` |", " | ".join(f"{c['simd']:.1f} / {c['pillow']:.1f}" for c in cells), "|")


if __name__ == "__main__":
    main()
