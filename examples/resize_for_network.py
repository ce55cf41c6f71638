"""Every image of a folder as a JPEG file of 600 x 600 pixels, for a network: the usual script, and one call.

python resize_for_network.py                          generates 600 images, two of them broken
python resize_for_network.py ~/photos --to ~/600    uses your images
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


def resize(source: str, target: str) -> str | None:
    try:
        Image.open(source).convert("RGB").resize((600, 600)).save(target)
    except OSError as error:
        return f"{source}: {error}"
    return None


def by_script(paths: list[str], folder: Path) -> list[str | None]:
    folder.mkdir(parents=True, exist_ok=True)
    targets = [f"{folder}/{Path(path).stem}.jpg" for path in paths]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(resize, paths, targets))


def main() -> None:
    args = photographs.arguments(__doc__)
    pd.set_option("display.width", 160, "display.max_columns", 10, "display.max_colwidth", 60)
    df = pandas_imgproc.from_glob(args.folder)

    started = time.perf_counter()
    errors = by_script(df["image_path"].tolist(), args.to / "by_script")
    script = time.perf_counter() - started

    # ---- the same in one call; one folder per class, as torchvision's ImageFolder and Keras expect it

    started = time.perf_counter()
    to = f"{args.to}/train/{{label}}/{{stem}}.jpg"
    written = df.img.save_resized("image_path", to, size=600)
    df["resized"] = written
    ours = time.perf_counter() - started

    print(f"\n{df.head(3)}\n\n{written.img.failures}\n")
    print(f"the script: {script:.2f} s, {len(errors) - errors.count(None)} errors")
    print(f"one call:   {ours:.2f} s, {script / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
