"""How augmentation scales with processes: the scripts of published studies side by side with one call.

The table: seconds by number of processes, for images of 250 x 250 to 2000 x 2000, with the variants saved and not,
and three ways to divide the work. All figures are measured in this run; none are from a publication.

parent reads      the parent reads all images and sends their pixels to a pool, one variant at a time
workers read      the pool receives paths, one variant at a time: each image is read once for every variant
separate savers   the parent reads, the pool augments, and separate processes take variants from queues and save them;
                  they count as processes, of which there are at least two
one call          df.img.augment, timed by pandas_imgproc.scaling_report on a running cluster; without saving it returns
                  all pixels, whereas the scripts discard them

python scaling_study.py                                             a minute or two on two free cores
python scaling_study.py --processes 1 2 4 8 16 --scale 64 --variants 5 --repeat 3     a full study
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from multiprocessing import Manager, Pool, Process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import albumentations as A  # noqa: N812  the conventional name
import cv2
import pandas as pd
import photographs

import pandas_imgproc

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import Queue

    import numpy as np

cv2.setNumThreads(1)  # one process, one core

TRANSFORM = A.Compose(
    [
        A.HorizontalFlip(p=0.5),
        A.GaussianBlur(p=0.3),
        A.Sharpen(p=0.3),
        A.GridDistortion(p=0.3),
        A.RandomBrightnessContrast(p=0.5),
    ]
)

# ---- the usual scripts


def read(path: str) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)


def save(pixels: np.ndarray, target: str) -> None:
    cv2.imwrite(target, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def augmented(pixels: np.ndarray, target: str | None) -> None:
    variant = TRANSFORM(image=pixels)["image"]
    if target is not None:
        save(variant, target)


def read_and_augmented(path: str, target: str | None) -> None:
    augmented(read(path), target)


def queued(pixels: np.ndarray, target: str, queue: Queue[Any]) -> None:
    queue.put((TRANSFORM(image=pixels)["image"], target))


def saver(queue: Queue[Any]) -> None:
    while (item := queue.get()) is not None:
        save(*item)


def parent_reads(paths: list[str], targets: list[list[str | None]], processes: int) -> None:
    pixels = [read(path) for path in paths]
    with Pool(processes) as pool:
        pool.starmap(augmented, [(pixels[row], target) for row, own in enumerate(targets) for target in own])


def workers_read(paths: list[str], targets: list[list[str | None]], processes: int) -> None:
    with Pool(processes) as pool:
        pool.starmap(read_and_augmented, [(paths[row], target) for row, own in enumerate(targets) for target in own])


def separate_savers(paths: list[str], targets: list[list[str | None]], processes: int) -> None:
    savers = max(1, math.ceil(math.sqrt(processes)) - 1)
    with Manager() as manager:
        queues = [manager.Queue() for _ in range(savers)]
        saving = [Process(target=saver, args=(queue,)) for queue in queues]
        for process in saving:
            process.start()
        pixels = [read(path) for path in paths]
        rows = enumerate(targets)
        work = [(pixels[row], target, queues[n % savers]) for row, own in rows for n, target in enumerate(own)]
        with Pool(max(1, processes - savers)) as pool:
            pool.starmap(queued, work)
        for queue in queues:
            queue.put(None)
        for process in saving:
            process.join()


def by_scripts(paths: list[str], to: Path, args: argparse.Namespace) -> pd.DataFrame:
    """Return seconds, one row per number of processes."""
    to.mkdir(parents=True, exist_ok=True)
    unsaved: list[list[str | None]] = [[None] * args.variants for _ in paths]
    saved: list[list[str | None]] = [[f"{to}/{row}_{n}.jpg" for n in range(args.variants)] for row in range(len(paths))]
    ways = {
        ("not saved", "parent reads"): (parent_reads, unsaved),
        ("not saved", "workers read"): (workers_read, unsaved),
        ("saved", "parent reads"): (parent_reads, saved),
        ("saved", "workers read"): (workers_read, saved),
        ("saved", "separate savers"): (separate_savers, saved),
    }
    seconds = {
        way: [seconds_of(args.repeat, script, paths, targets, number) for number in args.processes]
        for way, (script, targets) in ways.items()
    }
    return pd.DataFrame(seconds, index=args.processes)


def seconds_of(repeat: int, script: Callable[..., None], *args: object) -> float:
    taken = []
    for _ in range(repeat):
        started = time.perf_counter()
        script(*args)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


# ---- the same in one call


def by_one_call(paths: list[str], to: Path, args: argparse.Namespace) -> tuple[pd.DataFrame, list[str]]:
    """Return seconds, one row per number of processes, and the parallel fraction by Amdahl's law."""
    df = pd.DataFrame({"image_path": paths})
    size = cv2.imread(paths[0]).shape[1::-1]
    # Few large images: one per partition, so that there are enough partitions to share.
    how = {"n": args.variants, "size": size, "npartitions": min(len(df), 8 * max(args.processes)), "seed": 1}
    unsaved = pandas_imgproc.scaling_report(
        lambda d: d.img.augment("image_path", TRANSFORM, **how), df, args.processes, repeat=args.repeat
    )
    template = f"{to}/{{stem}}_{{variant}}.jpg"
    files = pandas_imgproc.scaling_report(
        lambda d: d.img.augment("image_path", TRANSFORM, **how, to=template, quality=95, overwrite=True),
        df, args.processes, repeat=args.repeat,
    )  # fmt: skip
    reports = {("not saved", "augment"): unsaved, ("saved", "augment(to=)"): files}
    seconds = pd.DataFrame({way: report.table.set_index("workers")["seconds"] for way, report in reports.items()})
    fractions = [f"{way}: {report.law.fraction:.0%} parallel" for (way, _), report in reports.items() if report.law]
    if args.reports:
        print(f"\n{unsaved}\n\n{files}")
    return seconds, fractions


def main() -> None:
    args = arguments()
    folders = {side: args.to / f"{side} x {side}" for side in args.sizes}
    for side, folder in folders.items():
        photographs.make(folder, args.scale * max(1, 1000 // side) ** 2, (side, side), broken=0)
    paths = {side: sorted(map(str, folder.glob("*/*.jpg"))) for side, folder in folders.items()}
    # The pools fork this process, which must not have the threads of a cluster yet: all scripts run first.
    scripts = {side: by_scripts(paths[side], args.to / "by_scripts", args) for side in args.sizes}
    pd.set_option("display.width", 200, "display.max_columns", 20, "display.float_format", "{:.2f}".format)
    for side in args.sizes:
        call, fractions = by_one_call(paths[side], args.to / "by_one_call", args)
        seconds = pd.concat({"the usual scripts": scripts[side], "one call": call}, axis=1)
        speedup = seconds.iloc[0] / seconds
        print(f"\n{side} x {side}: {len(paths[side])} images, {args.variants} variants of each")
        both = pd.concat({"seconds": seconds, "speed-up": speedup}, names=["", "processes"])
        print(f"{both}\n{'; '.join(fractions)}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[250, 500, 1000, 2000], help="sides in pixels")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="1 must be among them")
    parser.add_argument("--scale", type=int, default=8, help="images of each size; more of the small ones")
    parser.add_argument("--variants", type=int, default=2, help="variants per image")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, of which the median is printed")
    parser.add_argument("--reports", action="store_true", help="print the whole scaling reports too")
    parser.add_argument("--to", type=Path, default=Path("example_output"), help="where to write")
    args = parser.parse_args()
    args.processes = sorted(args.processes)
    return args


if __name__ == "__main__":
    main()
