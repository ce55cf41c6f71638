"""Columns from images for a gradient-boosting model, on a generated marketplace.

    python features.py [--products 400] [--to features_output]

Each product has a price, a category and one to five photos; some products sell. Careful sellers take sharp and bright
photos without duplicates; careless sellers do not, and sell less. A model that sees only the table cannot know; the
same model with columns from the images can. The script needs scikit-learn: `pip install scikit-learn`.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import pandas_imgproc  # noqa: F401  registers .img

SEED = 386
FEATURES = ["width", "height", "file_size", "bytes_per_pixel", "brightness", "contrast", "blur", "colorfulness",
            "entropy", "dullness", "whiteness", "saturation", "phash"]  # fmt: skip


def main() -> None:
    args = arguments()
    pd.set_option("display.width", 160, "display.max_columns", 10)
    folder = Path(args.to)
    products, photos = make_marketplace(folder, args.products)

    start = time.perf_counter()
    features = photos.img.features("image_path", FEATURES, root=folder)
    seconds = time.perf_counter() - start
    photos[features.columns] = features
    print(f"{len(photos):,} photos of {len(products):,} products in {seconds:.1f} s; the first ones:")
    print(photos[["product_id", "image_path", "width", "brightness", "blur", "phash"]].head())
    print(f"\nPhotos that could not be read, still in their rows: {len(features.img.failures)}")

    photos["duplicate_group"] = photos["phash"].img.duplicate_groups(max_distance=4)
    table = products.merge(per_product(photos), on="product_id", how="left")

    without = score(table[["price", "category", "title_length"]], table["sold"])
    with_images = score(table.drop(columns=["product_id", "sold"]), table["sold"])
    print("\nArea under the ROC curve, five-fold cross-validation of the same model:")
    print(f"  table alone            {without:.3f}")
    print(f"  with image columns     {with_images:.3f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=400, help="number of generated products (default: 400)")
    parser.add_argument("--to", default="features_output", help="the folder to write to (default: features_output)")
    args = parser.parse_args()
    if args.products < 50:
        parser.error("--products must be at least 50: each of five folds needs both classes")
    return args


def per_product(photos: pd.DataFrame) -> pd.DataFrame:
    """Return one row per product: aggregates over the features of its photos."""
    grouped = photos.groupby("product_id")
    table = grouped.agg(
        photos=("image_path", "size"),
        different=("duplicate_group", "nunique"),
        unreadable=("width", lambda width: int(width.isna().sum())),
        blur_mean=("blur", "mean"),
        blur_worst=("blur", "min"),
        brightness_mean=("brightness", "mean"),
        brightness_worst=("brightness", "min"),
        contrast_mean=("contrast", "mean"),
        colorfulness_mean=("colorfulness", "mean"),
        dullness_worst=("dullness", "max"),
        bytes_per_pixel_mean=("bytes_per_pixel", "mean"),
        width_max=("width", "max"),
    )
    return table.reset_index()


def score(columns: pd.DataFrame, sold: pd.Series) -> float:
    """Return the area under the ROC curve of a model, from five-fold cross-validation."""
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.08, max_leaf_nodes=8, random_state=SEED)
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    numbers = columns.astype("float64")  # missing values included: the model supports them
    return float(roc_auc_score(sold, cross_val_predict(model, numbers, sold, cv=folds, method="predict_proba")[:, 1]))


# ---- The marketplace


def make_marketplace(folder: Path, n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the photos of `n` products, deterministically; return products and photos as tables."""
    rng = np.random.default_rng(SEED)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    care = rng.beta(1.2, 1.2, n)  # of the seller; no column of the table has it
    price = rng.lognormal(3, 0.6, n).round(2)
    appeal = 3 * (care - 0.5) - 1.2 * (np.log(price) - 3) + rng.normal(0, 0.7, n)
    products = pd.DataFrame(
        {
            "product_id": range(1000, 1000 + n),
            "price": price,
            "category": rng.integers(0, 6, n),
            "title_length": rng.integers(10, 60, n),
            "sold": (appeal > 0).astype(int),
        }
    )
    jobs = [
        (int(product), float(carefulness), number)
        for product, carefulness in zip(products["product_id"], care, strict=True)
        for number in range(1 + int(rng.integers(0, 5)))
    ]
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(lambda job: write_photo(folder, *job), jobs))
    photos = pd.DataFrame({"product_id": [job[0] for job in jobs], "image_path": paths})
    return products, photos.sample(frac=1, random_state=SEED).reset_index(drop=True)


def write_photo(folder: Path, product: int, care: float, number: int) -> str:
    """Write one photo of a product; return its path, which for a careless seller may not exist."""
    rng = np.random.default_rng([SEED, product, number])
    name = f"images/{product}-{number}.jpg"
    if rng.random() < 0.03 * (1 - care):
        (folder / name).unlink(missing_ok=True)
        return name
    # A careless seller uploads the first image again instead of another view.
    duplicated = number > 0 and rng.random() > 0.4 + care
    image = photograph(np.random.default_rng([SEED, product, 0 if duplicated else number]), care)
    image.save(folder / name, quality=int(60 + 30 * care))
    return name


def photograph(rng: np.random.Generator, care: float) -> Image.Image:
    """Return a product on a table: colored shapes with a texture, out of focus and dark for little care."""
    width = int(rng.integers(280, 420) * (0.8 + 0.4 * care))
    height = width * 3 // 4
    ground = Image.fromarray(rng.integers(90, 200, (6, 8, 3), dtype=np.uint8)).resize((width, height))
    texture = Image.fromarray(rng.integers(0, 256, (height // 3, width // 3, 3), dtype=np.uint8)).resize(
        (width, height)
    )
    image = Image.blend(ground, texture, 0.25)
    for _ in range(4):
        side = int(rng.integers(width // 8, width // 3))
        shape = Image.new("RGB", (side, side * 3 // 4), tuple(rng.integers(20, 256, 3).tolist()))
        image.paste(shape, (int(rng.integers(0, width - side)), int(rng.integers(0, height - side))))
    light = 0.45 + 0.5 * care + rng.normal(0, 0.08)
    out_of_focus = max(0.0, 2.5 * (1 - care) + rng.normal(0, 0.4))
    return image.filter(ImageFilter.GaussianBlur(out_of_focus)).point(lambda level: level * light)


if __name__ == "__main__":
    main()
