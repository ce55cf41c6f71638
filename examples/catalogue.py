"""The catalog of a competition: a CSV of paths becomes an array of 64 x 64 images in the order of the CSV.

python catalogue.py                    generates 600 images and a shuffled CSV; two images are broken
python catalogue.py ~/competition      uses your folder
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import photographs
from PIL import Image

import pandas_imgproc

# ---- the usual script


def load(path: str) -> np.ndarray:
    try:
        return np.array(Image.open(path).convert("RGB").resize((64, 64)))
    except OSError:
        return np.zeros((64, 64, 3), dtype=np.uint8)  # and the row can no longer be identified


def by_script(paths: pd.Series) -> np.ndarray:
    with ProcessPoolExecutor() as pool:
        return np.stack(list(pool.map(load, paths)))


def main() -> None:
    args = photographs.arguments(__doc__)
    pd.set_option("display.width", 160, "display.max_columns", 10, "display.max_colwidth", 60)
    args.to.mkdir(parents=True, exist_ok=True)
    pandas_imgproc.from_glob(args.folder).sample(frac=1, random_state=0).to_csv(args.to / "train.csv", index=False)
    df = pd.read_csv(args.to / "train.csv")

    started = time.perf_counter()
    expected = by_script(df["image_path"])
    script = time.perf_counter() - started

    # ---- the same in one call, and the missing rows are known

    started = time.perf_counter()
    df["image"] = df.img.load_resized("image_path", size=64)
    X = df["image"].img.to_numpy(na_value=0)  # noqa: N806  the conventional name
    ours = time.perf_counter() - started

    exact = df["image_path"].img.load_resized(64, reducing_gap=None, errors="coerce").img.to_numpy(na_value=0)
    print(f"\n{df.head(3)}\n\n{df['image'].img.failures}\n")
    print(f"X is {X.shape} of {X.dtype}; with reducing_gap=None it is the script's, to the byte: "
          f"{np.array_equal(exact, expected)}")  # fmt: skip
    print(f"the script: {script:.2f} s")
    print(f"one call:   {ours:.2f} s, {script / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
