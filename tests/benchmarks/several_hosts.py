"""Caller and scheduler of workers on other hosts, which are namespaces of this machine: as root,
`python tests/benchmarks/several_hosts.py [rows] [methods]`, such as `6000 "load 224" cut`.

For each method the CPU time of the caller and of the scheduler for a row, without that of an idle cluster, and the
number of cores, at 2 ms of work a row, at which the busier one of them is the limit. With `cut` a link is cut for good:
the longest time without a result of the other host, and the time until all rows are finished. Targets:
`save_thumbnails` in a shared folder 200 cores, `load_resized(224)` 40, a gap of 2 s.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from hosts import Network, reason_against_hosts
from image_factory import encoded, scene

cloudpickle.register_pickle_by_value(sys.modules[__name__])

WORK = 0.002
N_FILES = 200
METHODS = [
    "thumbnails, shared",
    "thumbnails, own",
    "load 64",
    "load 224",
    "npy 224, shared",
    "parquet 224, shared",
    "features",
    "cut",
]


def call(folder: Path, method: str, n: int, run: int) -> tuple[float, float, int]:
    """Run a method on the caller; return its CPU time and wall time in seconds, and the number of partitions."""
    from pandas_imgproc.execution import JobState

    parts, finish = [], JobState.finish
    JobState.finish = lambda state, part: parts.append(1) or finish(state, part)
    paths = pd.Series([f"{folder}/images/{k % N_FILES}.jpg" for k in range(n)])
    kind, _, place = method.partition(", ")
    out = f"{folder}/{place}/{run}-{kind.partition(' ')[0]}"
    before, started_at = time.process_time(), time.perf_counter()
    if kind == "thumbnails":
        paths.img.save_thumbnails(f"{out}/{{position}}.jpg", 64, progress=False)
    elif kind == "features":
        paths.img.features(progress=False)
    else:
        name, size = kind.split()
        paths.img.load_resized(int(size), out=None if name == "load" else f"{out}.{name}", progress=False)
    JobState.finish = finish
    return time.process_time() - before, time.perf_counter() - started_at, len(parts)


def idle(seconds: float) -> float:
    """Return the CPU time of the caller while it waits."""
    before = time.process_time()
    time.sleep(seconds)
    return time.process_time() - before


def wait_for_workers(n: int) -> None:
    """Wait for workers, on the caller."""
    from distributed import get_client

    get_client().wait_for_workers(n, timeout=100)


def map_hosts(n: int) -> list[tuple[str, float]]:
    """Map a function of 20 ms on the caller; return host and time of each finished partition."""
    import socket

    from pandas_imgproc.execution import JobState

    def row(pixels):
        time.sleep(0.02)
        return socket.gethostname()

    ends, finish = [], JobState.finish
    JobState.finish = lambda state, part: ends.append((part.values[0], time.monotonic())) or finish(state, part)
    paths = pd.Series(["/dev/shm/none.png"] * n)
    result = pd.Series([np.zeros((4, 4, 3), np.uint8)] * len(paths)).img.map(row, progress=False, npartitions=n // 25)
    JobState.finish = finish
    assert result.notna().all()
    return ends


def measure(network: Network, folder: Path, n: int, methods: list[str]) -> None:
    """Print a line for each method."""
    scheduler = network.scheduler()
    before = cpu_seconds(scheduler)
    idle_load = network.call(idle, 10.0) / 10, (cpu_seconds(scheduler) - before) / 10
    print(f"idle: caller {1000 * idle_load[0]:.1f} ms a second, scheduler {1000 * idle_load[1]:.1f}")
    for run, method in enumerate(methods):
        if method == "cut":
            cut(network)
            continue
        network.call(call, folder, method, n // 10, 2 * run)
        before = cpu_seconds(scheduler)
        cpu, wall, n_partitions = network.call(call, folder, method, n, 2 * run + 1)
        cpu_times = cpu, cpu_seconds(scheduler) - before
        costs = [(seconds - wall * load) / n for seconds, load in zip(cpu_times, idle_load, strict=True)]
        print(
            f"{method:22}{n:,} rows in {n_partitions} partitions: caller {1e6 * costs[0]:.1f} µs a row, scheduler "
            f"{1e6 * costs[1]:.1f}; at {1000 * WORK:g} ms a row {WORK / max(costs):.0f} cores",
            flush=True,
        )


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process."""
    return sum(process.cpu_times()[:2])


def cut(network: Network) -> None:
    """Print the longest gap of one host while the other one is cut off for good."""
    network.send(map_hosts, 4000)
    time.sleep(8)
    network.cut("b")
    start = time.monotonic()
    ends = network.receive()
    others = [start, *(end for host, end in ends if host == "a" and end > start)]
    gaps = np.diff(others)
    print(
        f"cut for good: longest gap of the other host {gaps.max():.1f} s, {others[1 + gaps.argmax()] - start:.0f} s "
        f"after the cut; all rows after {time.monotonic() - start:.0f} s",
        flush=True,
    )


def main() -> None:
    """Measure with two workers."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    reason = reason_against_hosts()
    if reason:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("images", "shared", "own"):
            (folder / part).mkdir()
        for k in range(N_FILES):
            (folder / f"images/{k}.jpg").write_bytes(encoded(scene(500, 400, seed=k % 10), "JPEG", quality=90))
        with Network(folder) as network:
            for host in ("a", "b"):
                network.worker(host, f"mount -t tmpfs none {folder}/own")
            network.call(wait_for_workers, 2)
            measure(network, folder, n, sys.argv[2:] or METHODS)


if __name__ == "__main__":
    main()
