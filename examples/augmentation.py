"""Five random variants of every image of a folder, as arrays and as files: the usual script, and one call each.

python augmentation.py                                     generates 200 images, two of them broken
python augmentation.py ~/photos --to ~/augmented         uses your images
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor

import albumentations as A  # noqa: N812  the conventional name
import numpy as np
import photographs
from PIL import Image

import pandas_imgproc

SIZE, VARIANTS = (500, 500), 5
TRANSFORM = A.Compose(
    [
        A.HorizontalFlip(p=0.5),
        A.GaussianBlur(p=0.3),
        A.Sharpen(p=0.3),
        A.GridDistortion(p=0.3),
        A.RandomBrightnessContrast(p=0.5),
    ]
)

# ---- the usual script: different random numbers in each run and in each process


def variants(path: str) -> list[np.ndarray] | None:
    try:
        pixels = np.asarray(Image.open(path).convert("RGB").resize(SIZE))
    except OSError:
        return None
    return [TRANSFORM(image=pixels)["image"] for _ in range(VARIANTS)]


def by_script(paths: list[str]) -> list[list[np.ndarray] | None]:
    with ProcessPoolExecutor() as pool:
        return list(pool.map(variants, paths))


def main() -> None:
    args = photographs.arguments(__doc__, images=200)
    df = pandas_imgproc.from_glob(args.folder)

    started = time.perf_counter()
    results = by_script(df["image_path"].tolist())
    script = time.perf_counter() - started

    # ---- the same in one call: the long frame, with the label of each variant, reproducible

    pandas_imgproc.get_client()  # started first, so that the time below does not include its start
    started = time.perf_counter()
    aug = df.img.augment("image_path", TRANSFORM, n=VARIANTS, size=SIZE, seed=1)
    ours = time.perf_counter() - started

    started = time.perf_counter()
    template = f"{args.to}/augmented/{{label}}/{{stem}}_{{variant}}.jpg"
    df.img.augment("image_path", TRANSFORM, n=VARIANTS, size=SIZE, seed=1, to=template, errors="coerce")
    files = time.perf_counter() - started

    sheet = np.concatenate(list(aug["image"].img.to_numpy(na_value=0)[: 2 * VARIANTS]), axis=1)
    Image.fromarray(sheet).reduce(4).save(args.to / "augmented.png")
    print(f"\n{aug[['label', 'image']].head(7)}\n\n{aug['image'].img.failures.head()}\n")
    print(f"the script: {script:.2f} s, {results.count(None)} images failed, without a reason")
    print(f"one call:   {ours:.2f} s, {script / ours:.2f} times as fast; as {len(aug)} JPEG files: {files:.2f} s")


if __name__ == "__main__":
    main()
