"""From a CSV to an image column, on a generated catalog or on your own.

    python quickstart.py                                        generates 600 product images, three of them broken
    python quickstart.py train.csv image_path --root photos     loads your own

It prints the failures and the speed, and saves a contact sheet of the data set. The images are crops of photos that
scikit-learn and scikit-image ship: `pip install "pandas-imgproc[docs]"`. China and flower are
by danielbuechele and vultilion (CC BY 2.0), chelsea and coffee by Stefan van der Walt and Rachel Michetti (CC0), the
rocket by SpaceX (public domain), the coins by the Brooklyn Museum (no known restrictions).
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

import pandas_imgproc  # noqa: F401  registers .img
from pandas_imgproc.accessor.display.contact_sheet import contact_sheet, make_captions

SEED = 386
PRODUCTS = {
    "china": "Temple poster",
    "flower": "Dahlia print",
    "chelsea": "Cat calendar",
    "coffee": "Espresso cup",
    "rocket": "Rocket poster",
    "coins": "Coin set",
}

# Three of 600 rows, as in real data sets: never uploaded, half uploaded, an error page instead of an image.
BROKEN = {41: "absent", 137: "half", 402: "page"}


def main() -> None:
    args = arguments()
    pd.set_option("display.width", 160, "display.max_columns", 10, "display.max_colwidth", 80)
    folder = Path(args.to)
    folder.mkdir(parents=True, exist_ok=True)
    if args.csv is None:
        start = time.perf_counter()
        args.csv, args.root, args.caption = make_catalogue(folder, args.images), folder, "title"
        print(f"Generated {args.csv} and {args.images:,} images in {time.perf_counter() - start:.1f} s", flush=True)
    try:
        df = pd.read_csv(args.csv)
        start = time.perf_counter()
        image = df.img.load_resized(args.column, size=args.size, root=args.root, suffix=args.suffix)
        seconds = time.perf_counter() - start
        titles = df[args.caption or args.column]
    except KeyError as error:  # a mistyped column: the message lists the near names
        sys.exit(f"quickstart: {error.args[0]}")
    except OSError as error:  # none of the paths exists: the message suggests root= or suffix=
        sys.exit(f"quickstart: {error}")

    df["image"] = image
    report(df, seconds)
    sheet = draw_sheet(df["image"], titles)
    sheet.save(folder / "contact_sheet.png", optimize=True)
    print(f"\nContact sheet: {folder / 'contact_sheet.png'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="?", help="your CSV; by default a catalog is generated")
    parser.add_argument("column", nargs="?", default="image_path", help="its column of paths, URLs or ids")
    parser.add_argument("--size", type=int, default=64, help="pixels of one side (default: 64)")
    parser.add_argument("--root", help="the folder that the paths start from")
    parser.add_argument("--suffix", help="the suffix of the files, for a column of ids, such as .jpg")
    parser.add_argument("--caption", help="the column shown below the images (default: the column of paths)")
    parser.add_argument("--to", default="quickstart_output", help="the folder to write to (default: quickstart_output)")
    parser.add_argument("--images", type=int, default=600, help="number of generated images (default: 600)")
    args = parser.parse_args()
    if args.images < 30:
        parser.error("--images must be at least 30: three of them are broken")
    return args


def report(df: pd.DataFrame, seconds: float) -> None:
    """Print the frame, the missing rows with their reasons, the speed, and the array for a model."""
    print(f"\nThe frame, with its new column of {df['image'].dtype}:\n{df.head()}")
    print(f"\nRows without an image keep their positions:\n{df[df['image'].isna()]}")
    print(f"\nand df['image'].img.failures shows the reasons:\n{df['image'].img.failures}")
    print(f"\n{len(df):,} images in {seconds:.1f} s: {len(df) / seconds:,.0f} images per second")
    print(f"df['image'].img.to_numpy(na_value=0) is {df['image'].img.to_numpy(na_value=0).shape}, in the CSV's order")


def draw_sheet(images: pd.Series, titles: pd.Series, n: int = 40) -> Image.Image:
    """Return `n` rows from all over the column as one image, those that failed among them."""
    failed = np.flatnonzero(images.isna())[: n // 2]
    good = np.flatnonzero(images.notna())
    spread = np.linspace(0, len(good) - 1, min(n - len(failed), len(good))).astype(int)
    rows = np.sort(np.concatenate([failed, good[spread]]))
    return contact_sheet(
        images.iloc[rows],
        make_captions(images.index[rows], titles.iloc[rows]),
        title=f"{len(images):,} rows, {images.notna().sum():,} images",
    )


# ---- The catalog, as a marketplace would publish it: mixed formats and sizes, and three files that are no images


def make_catalogue(folder: Path, n: int) -> Path:
    """Write `n` products as a CSV with their images, deterministically, and return the path of the CSV."""
    photographs = sample_photographs()
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for old in images.glob("sku-*"):  # of a catalog of another length, which has other absent files
        old.unlink()
    ways = {row * n // 600: way for row, way in BROKEN.items()}
    # Pillow releases the GIL while it encodes, so threads double the speed on two cores.
    with ThreadPoolExecutor() as pool:
        products = list(pool.map(lambda i: make_product(i, ways.get(i), photographs, images), range(n)))
    pd.DataFrame(products).to_csv(folder / "catalogue.csv", index=False)
    return folder / "catalogue.csv"


def sample_photographs() -> dict[str, Image.Image]:
    """Return the photos, all from the installed packages; nothing is downloaded."""
    try:
        import skimage.data
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        sys.exit(f'quickstart: {error}; the catalog needs: pip install "pandas-imgproc[docs]"')
    arrays = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    arrays |= {name: getattr(skimage.data, name)() for name in PRODUCTS if name not in arrays}
    return {name: Image.fromarray(array).convert("RGB") for name, array in arrays.items()}


def make_product(i: int, way: str | None, photographs: dict[str, Image.Image], folder: Path) -> dict[str, object]:
    """Write the image of one product, broken or not, and return its row."""
    rng = np.random.default_rng([SEED, i])  # per product, so that the order of the threads does not matter
    name = rng.choice(list(PRODUCTS))
    write = jpeg if way else rng.choice(list(HOW), p=list(HOW.values()))
    suffix, data = write(cut(photographs[name], rng), rng)
    path = folder / f"sku-{i:04d}{suffix}"
    if way != "absent":
        path.write_bytes(spoiled(data, way) if way else data)
    price = round(float(rng.uniform(5, 60)), 2)
    return {"sku": f"SKU-{i:04d}", "title": PRODUCTS[name], "price": price, "image_path": f"images/{path.name}"}


def cut(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a random crop of a photo, 200 to 900 pixels a side, as if taken by another seller."""
    longest, aspect = rng.triangular(300, 350, 900), rng.uniform(0.67, 1.5)
    width, height = (longest, longest / aspect) if aspect > 1 else (longest * aspect, longest)
    zoom = rng.uniform(0.7, 1.0) * min(photograph.width / width, photograph.height / height)
    left = rng.uniform(0, photograph.width - zoom * width)
    top = rng.uniform(0, photograph.height - zoom * height)
    box = (left, top, left + zoom * width, top + zoom * height)
    return photograph.resize((round(width), round(height)), Image.Resampling.BICUBIC, box=box)


def encoded(image: Image.Image, suffix: str, **options: object) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    image.save(buffer, {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[suffix], **options)
    return suffix, buffer.getvalue()


def jpeg(image: Image.Image, rng: np.random.Generator) -> tuple[str, bytes]:
    return encoded(image, ".jpg", quality=int(rng.integers(70, 93)))


def turned_jpeg(image: Image.Image, rng: np.random.Generator) -> tuple[str, bytes]:
    """Store the image as a rotated camera does, with the EXIF orientation that turns it upright."""
    rotate = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    orientation = int(rng.choice(list(rotate)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image.transpose(rotate[orientation]), ".jpg", quality=85, exif=exif)


def gray_jpeg(image: Image.Image, rng: np.random.Generator) -> tuple[str, bytes]:
    return jpeg(image.convert("L"), rng)


def webp(image: Image.Image, rng: np.random.Generator) -> tuple[str, bytes]:
    return encoded(image, ".webp", quality=int(rng.integers(70, 90)), method=1)


def png(image: Image.Image, _: np.random.Generator) -> tuple[str, bytes]:
    return encoded(image, ".png", compress_level=1)


def cutout(image: Image.Image, rng: np.random.Generator) -> tuple[str, bytes]:
    """Make everything transparent except a rounded shape, as in product photos of shops."""
    mask = Image.new("L", image.size)
    width, height = image.size
    margin = 0.05 * min(image.size)
    box = (margin, margin, width - margin, height - margin)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=int(rng.uniform(0.15, 0.4) * min(image.size)), fill=255)
    image.putalpha(mask)
    return encoded(image, ".png", compress_level=1)


def palette(image: Image.Image, _: np.random.Generator) -> tuple[str, bytes]:
    return encoded(image.quantize(64, Image.Quantize.FASTOCTREE), ".png", compress_level=1)


def deep(image: Image.Image, _: np.random.Generator) -> tuple[str, bytes]:
    """Store 16-bit grayscale, as scanners do; most programs clip it to white."""
    return encoded(Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 257), ".png", compress_level=1)


HOW = {jpeg: 0.57, turned_jpeg: 0.1, webp: 0.1, cutout: 0.07, gray_jpeg: 0.06, palette: 0.05, deep: 0.03, png: 0.02}


def spoiled(data: bytes, way: str) -> bytes:
    return {"half": data[: len(data) // 2], "page": b"<!DOCTYPE html><h1>404 Not Found</h1>"}[way]


if __name__ == "__main__":
    main()
