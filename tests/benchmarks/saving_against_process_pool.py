"""Speed of `save_thumbnails` and `save_resized` relative to published scripts, in alternation on the same files.

    python tests/benchmarks/saving_against_process_pool.py FOLDER [--images 1000] [--repeat 5]

Every turn writes all its files into a new folder. Quote the ratios, not the seconds. On a busy machine,
the milliseconds of CPU time for each image, of all processes together, vary less than wall time.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import dask
import pandas as pd
import psutil
from dask.system import CPU_COUNT
from PIL import Image

import pandas_imgproc


def published_thumbnail(source: str, target: str) -> None:
    """Write a thumbnail as in published scripts."""
    image = Image.open(source).convert("RGB")
    image.thumbnail((128, 128))
    image.save(target)


def best_thumbnail(source: str, target: str) -> None:
    """Write a thumbnail without the conversion that prevents Pillow from decoding at a reduced scale."""
    with Image.open(source) as image:
        image.thumbnail((128, 128))
        image.save(target)


def published_resize(source: str, target: str) -> None:
    """Write an image of 600 x 600 pixels as in published scripts."""
    Image.open(source).convert("RGB").resize((600, 600)).save(target)


def pool(work: Callable[[str, str], None], chunksize: int, frame: pd.DataFrame, folder: Path) -> None:
    targets = [f"{folder}/{name}" for name in frame["name"]]
    with ProcessPoolExecutor(CPU_COUNT) as executor:
        list(executor.map(work, frame["image_path"], targets, chunksize=chunksize))


def ours(method: str, scheduler: str, frame: pd.DataFrame, folder: Path, **options: object) -> None:
    with dask.config.set(scheduler=scheduler):
        getattr(frame.img, method)("image_path", f"{folder}/{{name}}", progress=False, errors="raise", **options)


def link_images(folder: Path, n: int, work: Path) -> pd.DataFrame:
    """Return n images of a folder as links with distinct names; the images are repeated."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    rows = []
    for number, path in enumerate(islice(cycle(files), n)):
        link = work / f"{number}.jpg"
        link.symlink_to(path.absolute())
        rows.append((str(link), link.name))
    return pd.DataFrame(rows, columns=["image_path", "name"])


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and its children, running and ended."""
    usages = [resource.getrusage(target) for target in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    children = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(sum(times[:2]) for times in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    pandas_imgproc.get_client()
    with tempfile.TemporaryDirectory() as work:
        sources = Path(work, "sources")
        sources.mkdir()
        frame = link_images(options.folder, options.images, sources)
        thumbnails = {
            "script": partial(pool, published_thumbnail, 1),
            "script, 16 a time": partial(pool, published_thumbnail, 16),
            "script without convert": partial(pool, best_thumbnail, 1),
            "ours, on the cluster": partial(ours, "save_thumbnails", "distributed"),
            "ours, inline": partial(ours, "save_thumbnails", "threads"),
        }
        resized = {
            "script": partial(pool, published_resize, 1),
            "script, 16 a time": partial(pool, published_resize, 16),
            "ours, on the cluster": partial(ours, "save_resized", "distributed", size=600),
            "ours, inline": partial(ours, "save_resized", "threads", size=600),
        }
        compare("thumbnails of 128", thumbnails, frame, Path(work), options.repeat)
        compare("600 x 600", resized, frame, Path(work), options.repeat)
    pandas_imgproc.close()


def compare(job: str, ways: dict[str, Callable[..., None]], frame: pd.DataFrame, work: Path, repeat: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeat + 1):  # the first warms up
        for name, way in ways.items():
            folder = work / "out"
            folder.mkdir()
            started, before = time.perf_counter(), cpu_seconds()
            way(frame, folder)
            taken, used = time.perf_counter() - started, cpu_seconds() - before
            assert len(list(folder.glob("[!.]*.jpg"))) == len(frame), name
            shutil.rmtree(folder)
            if turn:
                seconds[name].append(taken)
                cpu[name].append(used)
    for name, taken in seconds.items():
        against = {
            other: statistics.median(b / a for a, b in zip(taken, seconds[other], strict=True))
            for other in ways
            if other.startswith("script")
        }
        rate = len(frame) / statistics.median(taken)
        ratios = "; ".join(f"{ratio:.2f} x the {other}" for other, ratio in against.items())
        work_done = 1000 * statistics.median(cpu[name]) / len(frame)
        print(f"{job}: {name:22s} {rate:5.0f} images/s, {work_done:5.2f} ms of CPU each; {ratios}", flush=True)


if __name__ == "__main__":
    main()
