"""Processor time of the dashboard's page Images: with no browser and with one, in turns within one call.

python tests/benchmarks/images_page_cost.py [seconds of a phase]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples"))

from photographs import make

import pandas_imgproc
from pandas_imgproc.cluster.dashboard import dashboard_link, images_link
from pandas_imgproc.cluster.images_page.names import PLUGIN

STOP = threading.Event()


def wait(pixels: np.ndarray) -> float:
    """Return a mean, after a wait: the processor is nearly idle, so that little work of the page is measurable."""
    time.sleep(0.01)
    return float(pixels.mean())


def run_calls(folder: Path) -> None:
    """Make calls until the end."""
    paths = pd.Series(sorted(map(str, folder.rglob("*.jpg"))) * 100)
    while not STOP.is_set():
        paths.img.map(wait, size=32, errors="coerce", progress=False)


def cpu_seconds(processes: list[psutil.Process]) -> list[float]:
    """Return the processor time of each process."""
    return [sum(process.cpu_times()[:2]) for process in processes]


def measure(seconds: float, processes: list[psutil.Process]) -> tuple[float, float]:
    """Return the processor time of this process, and of all."""
    before = cpu_seconds(processes)
    time.sleep(seconds)
    used = [after - start for start, after in zip(before, cpu_seconds(processes), strict=True)]
    return used[0], sum(used)


def main() -> None:
    """Print the processor time of this process, which holds the scheduler."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    client = pandas_imgproc.get_client(n_workers=2)
    plugin = client.cluster.scheduler.plugins[PLUGIN]
    processes = [psutil.Process(), *(psutil.Process(n.pid) for n in client.cluster.workers.values())]
    link = images_link(dashboard_link(client))
    totals = {"no viewer": 0.0, "viewer": 0.0}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = make(Path(name), 90, broken=3)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        running = threading.Thread(target=run_calls, args=(folder,))
        running.start()
        time.sleep(5)
        for phase in ("no viewer", "viewer") * 3:
            page = chromium.new_page() if phase == "viewer" else None
            if page is not None:
                page.goto(link)
                page.wait_for_function("window.Bokeh && Bokeh.documents.length")
                page.wait_for_timeout(3000)
            while page is None and plugin.n_viewers:
                time.sleep(0.5)
            own, total = measure(seconds, processes)
            totals[phase] += own
            print(f"{phase}: {own:.2f} s in this process, {total:.2f} s in all, in {seconds:.0f} s", flush=True)
            if page is not None:
                page.close()
        STOP.set()
        running.join()
        chromium.close()
    difference = (totals["viewer"] - totals["no viewer"]) / (3 * seconds)
    print(f"an open page: {1000 * difference:.1f} ms a second, {difference / psutil.cpu_count():.2%} of the cores")
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
