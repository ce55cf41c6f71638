"""Simulation of many workers, near and distant: `python tests/benchmarks/many_workers.py --slots 64 1000 --ms 0 50`.

Threads that sleep need no cores: a few worker processes are a cluster. Of interest are the caller and the scheduler,
which give partitions out and collect them. With `--ms 50` the caller reaches the scheduler through a proxy that adds
50 ms each way; with `--direct no` the results come the same way. Efficiency is the time that the sleeps need on all
slots, over the wall time of the call; all processes share the cores of this machine. Targets: 90 % for 64 slots with
rows of 0.2 s at 50 ms, and 85 % for 1,000 slots with rows of 1 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from cluster_subprocess import SubprocessCluster
from distributed import Client
from PIL import Image

import pandas_imgproc  # noqa: F401
from pandas_imgproc.execution import collect_stats

THREADS_PER_PROCESS = 125


def sleeping(seconds: float):
    """Return a function of one row that sleeps."""

    def sleep(_):
        time.sleep(seconds)
        return 1

    return sleep


def cpu_seconds(processes: list[subprocess.Popen]) -> float:
    """Return the CPU time of processes."""
    return sum(sum(psutil.Process(process.pid).cpu_times()[:2]) for process in processes)


@contextlib.contextmanager
def distant(port: int, ms: float):
    """Provide the port by which to reach a port from afar."""
    if not ms:
        yield port
        return
    command = [sys.executable, str(Path(__file__).parent.parent / "delay_proxy.py"), str(port), str(ms / 1000)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        yield int(proxy.stdout.readline())
        proxy.communicate()


def measure(slots: int, ms: float, seconds: float, rows: int, npartitions: int | None, direct: bool | None) -> None:
    """Print a line for one cluster."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        image = Path(folder) / "tiny.png"
        Image.new("RGB", (9, 7)).save(image)
        started = SubprocessCluster(Path(folder))
        stack.callback(started.close)
        n_processes = -(-slots // THREADS_PER_PROCESS)
        for k in range(n_processes):
            n_threads = slots // n_processes + (k < slots % n_processes)
            started.worker("--nthreads", str(n_threads), "--no-nanny")
        with started.client(set_as_default=False) as near:
            near.wait_for_workers(n_processes, timeout=120)
            port = json.loads(started.file.read_text())["address"].rpartition(":")[2]
        address = f"tcp://127.0.0.1:{stack.enter_context(distant(int(port), ms))}"
        frame = pd.DataFrame({"path": [str(image)] * rows})
        with Client(address, direct_to_workers=direct) as client, collect_stats() as jobs:
            frame[: 2 * slots].img.map("path", sleeping(0.0), progress=False)  # imports
            processes = started.processes[:1], started.processes[1:]
            before = [time.perf_counter(), time.process_time(), *map(cpu_seconds, processes)]
            n_before = n_tasks(client)
            result = frame.img.map("path", sleeping(seconds), progress=False, npartitions=npartitions)
            after = [time.perf_counter(), time.process_time(), *map(cpu_seconds, processes)]
            n_partitions = n_tasks(client) - n_before
        assert (result == 1).all()
        wall, *cpu = (end - begin for begin, end in zip(before, after, strict=True))
        caller, scheduler, workers = (1000 * seconds / n_partitions for seconds in cpu)
        print(
            f"{slots:>5} slots, {ms:g} ms each way: {rows:,} rows of {seconds:g} s in {wall:.1f} s, efficiency "
            f"{rows * seconds / slots / wall:.0%}; {n_partitions:,} partitions, {n_partitions / wall:.0f} a second; "
            f"CPU a partition: caller {caller:.2f} ms, scheduler {scheduler:.2f}, workers {workers:.2f}, together "
            f"{sum(cpu) / wall:.1f} cores; the caller waited for {jobs[-1].idle_seconds:.1f} s",
            flush=True,
        )


def n_tasks(client: Client) -> int:
    """Return the number of partitions that workers have finished."""
    return client.run_on_scheduler(_n_finished)


def _n_finished(dask_scheduler) -> int:
    return sum(prefix.state_counts["memory"] for prefix in dask_scheduler.task_prefixes.values())


def main() -> None:
    """Print a line for each number of slots and delay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[64, 250, 1000])
    parser.add_argument("--ms", type=float, nargs="+", default=[0, 50])
    parser.add_argument("--seconds", type=float, default=1.0, help="of a row")
    parser.add_argument("--rows", type=int, default=20, help="for each slot")
    parser.add_argument("--npartitions", type=int)
    parser.add_argument("--direct", choices=("auto", "yes", "no"), default="auto")
    options = parser.parse_args()
    direct = {"auto": None, "yes": True, "no": False}[options.direct]
    for slots in options.slots:
        for ms in options.ms:
            measure(slots, ms, options.seconds, options.rows * slots, options.npartitions, direct)


if __name__ == "__main__":
    main()
