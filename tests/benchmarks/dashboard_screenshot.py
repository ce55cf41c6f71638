"""Screenshot of two dashboard pages in Chromium while two jobs run, written to docs/dashboard.png.

python tests/benchmarks/dashboard_screenshot.py
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "examples"))

from photographs import make  # noqa: E402

import pandas_imgproc  # noqa: E402
from pandas_imgproc.cluster import dashboard_link  # noqa: E402


def edges(pixels: np.ndarray) -> float:
    """Return the mean difference of vertical neighbors."""
    return float(np.abs(np.diff(pixels.astype(float), axis=0)).mean())


def run_jobs(folder: Path) -> None:
    """Run two jobs with some broken images."""
    paths = pd.Series(sorted(map(str, folder.rglob("*.jpg"))) * 20)
    paths.img.load_resized(224, errors="coerce", progress=False, npartitions=40)
    paths.img.map(edges, size=400, errors="coerce", progress=False, npartitions=60)


def main() -> None:
    """Write the screenshot."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = make(Path(name), 90, broken=3)
        link = dashboard_link(pandas_imgproc.get_client(n_workers=2))
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        status = chromium.new_page(viewport={"width": 1280, "height": 560})
        fine = chromium.new_page(viewport={"width": 1280, "height": 410})
        running = threading.Thread(target=run_jobs, args=(folder,))
        running.start()
        status.goto(link)
        fine.goto(link.replace("/status", "/individual-fine-performance-metrics"))
        for page in (status, fine):
            page.wait_for_function("window.Bokeh && Bokeh.documents.length")
        shots = []
        while running.is_alive():
            status.wait_for_timeout(1000)
            shots = [*shots[-2:], (status.screenshot(), fine.screenshot())]
        pages = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots[0]]
        both = Image.new("RGB", (1280, sum(page.height for page in pages)), "white")
        both.paste(pages[0], (0, 0))
        both.paste(pages[1], (0, pages[0].height))
        both.quantize(128).save(ROOT / "docs" / "dashboard.png", optimize=True)
        chromium.close()


if __name__ == "__main__":
    main()
