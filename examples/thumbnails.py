"""A thumbnail of 128 pixels of every image of a folder: the usual script, and the same in one call.

python thumbnails.py                                  generates 600 images, two of them broken
python thumbnails.py ~/photos --to ~/thumbnails     uses your images
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import photographs
from PIL import Image

import pandas_imgproc

# ---- the usual script


def thumbnail(source: str, target: str) -> str | None:
    try:
        image = Image.open(source).convert("RGB")
        image.thumbnail((128, 128))
        image.save(target)
    except OSError as error:
        return f"{source}: {error}"
    return None


def by_script(paths: list[str], folder: Path) -> list[str | None]:
    folder.mkdir(parents=True, exist_ok=True)
    targets = [f"{folder}/{Path(path).stem}.jpg" for path in paths]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(thumbnail, paths, targets))


def main() -> None:
    args = photographs.arguments(__doc__)
    pd.set_option("display.width", 160, "display.max_columns", 10, "display.max_colwidth", 60)
    df = pandas_imgproc.from_glob(args.folder)

    started = time.perf_counter()
    errors = by_script(df["image_path"].tolist(), args.to / "by_script")
    script = time.perf_counter() - started

    # ---- the same in one call: subfolders are preserved, images are upright, files are written atomically

    started = time.perf_counter()
    written = df.img.save_thumbnails("image_path", args.to / "thumbnails", size=128, format="JPEG")
    df["thumbnail"] = written
    ours = time.perf_counter() - started

    started = time.perf_counter()
    df.img.save_thumbnails("image_path", args.to / "thumbnails", size=128, format="JPEG", errors="coerce")
    again = time.perf_counter() - started

    print(f"\n{df.head(3)}\n\n{written.img.failures}\n")
    print(f"the script: {script:.2f} s, {len(errors) - errors.count(None)} errors")
    print(f"one call:   {ours:.2f} s, {script / ours:.2f} times as fast; again, for missing files: {again:.2f} s")


if __name__ == "__main__":
    main()
