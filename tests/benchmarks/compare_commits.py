"""Speed of two commits, as ratios within one run: ``python tests/benchmarks/compare_commits.py main HEAD``.

Each commit is checked out into a folder of its own. Both run the same jobs in turn, in processes of their own, and the
CPU time and the wall time of their medians are compared; on a machine that does other things too, CPU time is the
better figure. Options: ``--rounds 5``, ``--rows 400``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

JOB = """
import json, sys, time, dask, pandas as pd, pandas_imgproc
folder, n = sys.argv[1], int(sys.argv[2])
paths = pd.Series([f"{folder}/{k % 40}.jpg" for k in range(n)])
jobs = {
    "load_resized 64": lambda: paths.img.load_resized(64),
    "load_resized 224, Pillow": lambda: paths.img.load_resized(224, engine="pillow"),
    "features": lambda: paths.img.features(["brightness", "blur", "entropy"]),
    "map": lambda: paths.img.map(lambda pixels: float(pixels.mean()), size=64),
    "verify": lambda: paths.img.verify(),
}
times = {}
with dask.config.set(scheduler="threads"):
    paths[:40].img.load_resized(64)
    for name, job in jobs.items():
        wall, cpu = time.perf_counter(), time.process_time()
        job()
        times[name] = time.process_time() - cpu, time.perf_counter() - wall
print(json.dumps(times))
"""

IMAGES = """
import sys, numpy as np
from PIL import Image
rng = np.random.default_rng(0)
for k in range(40):
    coarse = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    coarse.resize((600, 400), Image.Resampling.BICUBIC).save(f"{sys.argv[1]}/{k}.jpg", quality=85)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commits", nargs=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=400)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        subprocess.run([sys.executable, "-c", IMAGES, photos], check=True)
        copies = [check_out(commit, Path(folder, str(k))) for k, commit in enumerate(arguments.commits)]
        runs: list[list[dict[str, list[float]]]] = [[], []]
        for number in range(arguments.rounds):
            for k in (0, 1) if number % 2 == 0 else (1, 0):  # a load that comes and goes hits both
                runs[k].append(run(copies[k], photos, arguments.rows))
        report(arguments.commits, runs)


def check_out(commit: str, folder: Path) -> Path:
    """Extract a commit into a folder."""
    archive = subprocess.run(["git", "archive", commit, "pandas_imgproc"], check=True, stdout=subprocess.PIPE).stdout
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder


def run(copy: Path, photos: Path, rows: int) -> dict[str, list[float]]:
    """Return the CPU time and the wall time of each job."""
    env = os.environ | {"PYTHONPATH": str(copy)}
    command = [sys.executable, "-c", JOB, str(photos), str(rows)]
    output = subprocess.run(command, cwd=copy, env=env, check=True, stdout=subprocess.PIPE).stdout
    times: dict[str, list[float]] = json.loads(output)
    return times


def report(commits: list[str], runs: list[list[dict[str, list[float]]]]) -> None:
    """Print a table: the second commit's times over the first's."""
    print(f"{commits[1]} / {commits[0]}, medians of {len(runs[0])} rounds; below 1 the second is faster")
    print(f"{'job':28}{'CPU time':>10}{'wall time':>11}{'spread':>8}")
    for job in runs[0][0]:
        cpu, wall = (
            statistics.median(times[job][which] for times in runs[1])
            / statistics.median(times[job][which] for times in runs[0])
            for which in (0, 1)
        )
        ratios = [b[job][0] / a[job][0] for a, b in zip(*runs, strict=True)]
        print(f"{job:28}{cpu:10.2f}{wall:11.2f}{max(ratios) - min(ratios):8.2f}")


if __name__ == "__main__":
    main()
