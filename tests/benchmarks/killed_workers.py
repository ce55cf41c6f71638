"""Result and time of a job whose workers are killed at random, compared with an undisturbed job.

python tests/benchmarks/killed_workers.py FOLDER [--images 2000] [--size 224] [--kills 1 5 20] [--seeds 10]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import threading
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd

import pandas_imgproc
from pandas_imgproc import cluster


def run(paths: pd.Series, size: int) -> tuple[float, np.ndarray]:
    started = time.perf_counter()
    column = paths.img.load_resized(size, errors="raise", progress=False, npartitions=len(paths) // 25)
    return time.perf_counter() - started, column.img.to_numpy()


class Killer(threading.Thread):
    """Thread that kills workers, spread over a number of seconds."""

    def __init__(self, kills: int, seconds: float, seed: int) -> None:
        super().__init__()
        self.kills, self.n_done, self.seconds, self.rng = kills, 0, seconds, random.Random(seed)
        self.stop = threading.Event()

    def run(self) -> None:
        while self.n_done < self.kills and not self.stop.wait(self.rng.uniform(0, self.seconds / self.kills)):
            pids = sorted(nanny.pid for nanny in cluster.manager._managed.cluster.workers.values() if nanny.pid)
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.rng.choice(pids), signal.SIGKILL)
                    self.n_done += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--kills", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    files = sorted(str(path) for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = pd.Series(list(islice(cycle(files), options.images)))
    pandas_imgproc.get_client()
    run(paths, options.size)
    quiet, expected = run(paths, options.size)
    print(f"undisturbed: {quiet:.1f} s")
    for kills in options.kills:
        for seed in range(options.seeds):
            killer = Killer(kills, quiet, seed)
            killer.start()
            seconds, result = run(paths, options.size)
            killer.stop.set()
            killer.join()
            allowed = 3 * quiet + 2 * killer.n_done
            same = "identical" if np.array_equal(result, expected) else "DIFFERENT"
            times = f"{seconds:.1f} of {allowed:.1f} s allowed"
            print(f"{killer.n_done:2d} kills, seed {seed}: {same}, {times}", flush=True)
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
