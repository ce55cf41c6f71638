"""Screenshot of the dashboard's page Images in Chromium, written to docs/images-page.png.

A call with broken and missing files, of which one of three workers is slow: it is stopped half of the time.

python tests/benchmarks/images_page_screenshot.py
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "examples"))

from quickstart import make_catalogue  # noqa: E402

import pandas_imgproc  # noqa: E402
from pandas_imgproc.cluster.dashboard import dashboard_link, images_link  # noqa: E402

REPEATS = 12


def slow_down(pid: int, ended: threading.Event) -> None:
    """Stop a process for half of the time."""
    while not ended.is_set():
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.06)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.06)


def run_calls(csv: Path) -> None:
    """Make three calls, the last of which is that of the screenshot."""
    df = pd.read_csv(csv)
    os.chdir(csv.parent)
    df = pd.concat([df.assign(sku=[f"{k}-{i}" for i in range(len(df))]) for k in range(REPEATS)]).set_index("sku")
    df.loc["0-20", "image_path"] = "images/sold-out.jpg"
    df[:1500].img.features("image_path", errors="coerce", progress=False, npartitions=30)
    df[:2500].img.save_thumbnails("image_path", "thumbs/{index}.jpg", errors="coerce", progress=False)
    df.img.load_resized("image_path", 224, out="train.npy", errors="coerce", progress=False)


def main() -> None:
    """Write the screenshot."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        csv = make_catalogue(Path(name), 600)
        client = pandas_imgproc.get_client(n_workers=3)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 960})
        page.goto(images_link(dashboard_link(client)))
        page.wait_for_function("window.Bokeh && Bokeh.documents.length")
        ended = threading.Event()
        pid = next(iter(client.cluster.workers.values())).pid
        slowing = threading.Thread(target=slow_down, args=(pid, ended))
        running = threading.Thread(target=run_calls, args=(csv,))
        slowing.start()
        running.start()
        shots: list[bytes] = []
        while running.is_alive():
            page.wait_for_timeout(1000)
            shots = [*shots[-5:], page.screenshot()]
        ended.set()
        slowing.join()
        image = Image.open(io.BytesIO(shots[0])).convert("RGB")
        image.quantize(256).save(ROOT / "docs" / "images-page.png", optimize=True)
        chromium.close()
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
