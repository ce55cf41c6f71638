"""Speed of `load_resized` relative to alternatives, in alternation on the same files, as tables in Markdown.

    python tests/benchmarks/table.py FOLDER [--repeat 5] [--only TEXT] [--quick] [--out docs/benchmarks-table.md]

FOLDER holds photographs. They are used as they are, and enlarged to 1 and 12 megapixels, as JPEG and as PNG; small
drawings of 28 x 28 pixels are generated. Each alternative runs in a persistent process (warm); then as a script,
`python ways.py`, with its imports and its start (cold). Each figure is the median over the turns of the ratio of the
alternative's time to that of `load_resized` in the same turn, with minimum and maximum: ratios hold on a noisy machine,
seconds do not. The alternatives need ``pip install opencv-python-headless daft datasets "ray[data]"
pandas-image-methods cykooz-resizer``; those that are not installed are skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from ways import CORES, WAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = str(Path(__file__).with_name("ways.py"))
MODULES = {
    "OpenCV with threads": "cv2",
    "OpenCV with threads, cubic": "cv2",
    "Daft": "daft",
    "Hugging Face datasets": "datasets",
    "Ray Data": "ray",
    "pandas-image-methods": "pandas_image_methods",
    "limit": "cykooz_resizer",
}
PACKAGES = ("pandas_imgproc", "pillow", "numpy", "pandas", "dask", "opencv-python-headless", "daft", "datasets", "ray")
NOT_PERSISTENT = ("Ray Data",)  # its servers would use the cores while others are timed
FRAMEWORKS = ("Daft", "Hugging Face datasets", "Ray Data", "pandas-image-methods")
ALL = tuple(WAYS)
SHORT = tuple(way for way in ALL if way not in FRAMEWORKS)


@dataclass(frozen=True)
class TaskSpec:
    """One row of the table.

    Attributes
    ----------
    megapixels : float or None
        Size of the photographs; None is unchanged, 0 is a drawing of 28 x 28 pixels.
    ways, cold : tuple of str
        Alternatives, warm and as a script.
    """

    megapixels: float | None
    format: str
    size: int
    rows: int
    ways: tuple[str, ...] = SHORT
    cold: tuple[str, ...] = ()

    def __str__(self) -> str:
        source = {None: "photos as they are", 0: "28²"}.get(self.megapixels, f"{self.megapixels} megapixels")
        return f"{self.rows:,} {self.format}, {source} → {self.size}²"


WORK = (
    TaskSpec(None, "JPEG", 64, 1000, ALL, ALL),
    TaskSpec(None, "JPEG", 224, 1000, ALL, SHORT),
    TaskSpec(None, "JPEG", 600, 1000, SHORT, SHORT),
    TaskSpec(12, "JPEG", 224, 40, ALL, SHORT),
    TaskSpec(0, "PNG", 28, 10_000, SHORT, SHORT),
    TaskSpec(1, "JPEG", 224, 200),
    TaskSpec(1, "PNG", 224, 100, SHORT, SHORT),
    TaskSpec(None, "PNG", 224, 300),
    TaskSpec(12, "PNG", 224, 12),
    TaskSpec(1, "JPEG", 64, 300),
    TaskSpec(1, "JPEG", 600, 120),
    TaskSpec(12, "JPEG", 64, 40),
    TaskSpec(12, "JPEG", 600, 24),
)


def files(work: TaskSpec, photos: list[str], folder: Path) -> list[str]:
    """Return the files of a row of the table, generated if necessary, and repeated to its number of rows."""
    if work.megapixels is None and work.format == "JPEG":
        return list(islice(cycle(photos), work.rows))
    home = folder / f"{work.format}-{work.megapixels}"
    if not home.exists():
        home.mkdir()
        count = 10_000 if work.megapixels == 0 else 250 if work.megapixels is None else 30 if work.megapixels < 5 else 8
        for number, photo in zip(range(count), cycle(photos), strict=False):
            image = _drawing(number) if work.megapixels == 0 else _enlarged(photo, work.megapixels)
            image.save(home / f"{number:05d}.{work.format.lower()}", work.format, quality=90)
    return list(islice(cycle(sorted(map(str, home.iterdir()))), work.rows))


def _enlarged(photo: str, megapixels: float | None) -> Image.Image:
    image = Image.open(photo).convert("RGB")
    if megapixels is None:
        return image
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _drawing(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.arange(28), np.arange(28))
    x, y = rng.uniform(6, 22, 2)
    gray = 255 - ((across - x) ** 2 + (down - y) ** 2) * rng.uniform(1, 6) + rng.normal(0, 10, (28, 28))
    return Image.fromarray(np.where(gray < 40, 0, gray).clip(0, 255).astype(np.uint8))


class Server:
    """Persistent process of an alternative."""

    def __init__(self, way: str) -> None:
        command = [sys.executable, SCRIPT, way, "--serve"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_quiet()
        )

    def seconds(self, names: str, size: int) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([names, size]), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # some alternatives print
                return float(json.loads(line))
        raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _quiet() -> dict[str, str]:
    return os.environ | {
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "DAFT_PROGRESS_BAR": "0",
        "PYTHONWARNINGS": "ignore",
    }


def warm(work: TaskSpec, ways: list[str], names: str, repeat: int) -> dict[str, list[float]]:
    """Return the seconds of each alternative in each turn, after a warm-up turn."""
    seconds: dict[str, list[float]] = defaultdict(list)
    servers: dict[str, Server] = {}
    try:
        for turn in range(repeat + 1):
            for way in ways:
                server = servers[way] = servers.get(way) or Server(way)
                if way in NOT_PERSISTENT:
                    server.seconds(names, work.size)
                took = server.seconds(names, work.size)
                if turn:
                    seconds[way].append(took)
                if way in NOT_PERSISTENT:
                    servers.pop(way).close()
    finally:
        for server in servers.values():
            server.close()
    return seconds


def cold(work: TaskSpec, ways: list[str], names: str, repeat: int) -> dict[str, list[float]]:
    """Return the seconds of each alternative as a script, in each turn."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeat):
        for way in ways:
            started = time.perf_counter()
            command = [sys.executable, SCRIPT, way, str(work.size), names]
            subprocess.run(command, check=True, capture_output=True, env=_quiet())
            seconds[way].append(time.perf_counter() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], way: str) -> str:
    """Return the ratio of the time of an alternative to that of `load_resized`, as text."""
    if way not in seconds:
        return "-"
    turns = [theirs / ours for theirs, ours in zip(seconds[way], seconds["ours"], strict=True)]
    middle = statistics.median(turns)
    shown = f"{middle:.2f}" if middle < 10 else f"{middle:.0f}"
    return f"{'**' * (middle < 1)}{shown}{'**' * (middle < 1)} ({min(turns):.2f} to {max(turns):.2f})"


def lines(title: str, rows: list[tuple[TaskSpec, dict[str, list[float]]]], ways: list[str]) -> Iterator[str]:
    """Yield a table in Markdown."""
    yield f"### {title}\n"
    yield "| work | ours, images/s | " + " | ".join(ways) + " |"
    yield "|---" * (len(ways) + 2) + "|"
    for work, seconds in rows:
        rate = work.rows / statistics.median(seconds["ours"])
        yield f"| {work} | {rate:,.0f} | " + " | ".join(ratio(seconds, way) for way in ways) + " |"
    yield ""


def machine() -> str:
    """Return the cores, the processor and the versions of the measurement."""
    model = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), "")  # noqa: SIM115
    versions = []
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return f"{CORES} cores ({model}), Python {platform.python_version()}, {', '.join(versions)}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--quick", action="store_true", help="leave the frameworks out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    photos = sorted(str(path) for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    known = [way for way in WAYS if way not in MODULES or importlib.util.find_spec(MODULES[way])]
    known = [way for way in known if not (options.quick and way in FRAMEWORKS)]
    warm_rows, cold_rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, work in enumerate(work for work in WORK if options.only in str(work)):
            names = Path(folder, f"{number}.txt")
            names.write_text("\n".join(files(work, photos, Path(folder))))
            ways = [way for way in known if way in work.ways]
            warm_rows.append((work, warm(work, ways, str(names), options.repeat)))
            print("\n".join(lines(str(work), warm_rows[-1:], ways[1:])), flush=True)
            if work.cold:
                scripts = [way for way in ways if way in work.cold and way != "limit"]
                cold_rows.append((work, cold(work, scripts, str(names), options.repeat)))
                print("\n".join(lines(f"{work}, cold", cold_rows[-1:], scripts[1:])), flush=True)
    report = [machine(), "", *lines("Warm", warm_rows, known[1:])]
    report += lines("Cold: `python script.py`", cold_rows, [way for way in known[1:] if way != "limit"])
    print("\n".join(report))
    if options.out:
        options.out.write_text("\n".join(report))


if __name__ == "__main__":
    main()
