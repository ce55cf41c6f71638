"""Archives in place, unpacked and as shards: `python tests/benchmarks/archives.py [members] [padding]`.

The members are images of their number in 100 folders, with `padding` random bytes each. Printed are, for a folder and
for a zip, a tar and a compressed tar of the same files: the seconds and the CPU seconds of `from_glob` (for the
compressed tar with its one pass), the largest memory of this process, the ratio of the CPU time of loading on this
process to that of the folder; then unpacking with `unpack` and with the standard library; then shards. Each label and
each image is compared with its number. Run it on an idle machine, with 50000 members.
"""

from __future__ import annotations

import io
import os
import random
import resource
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import dask
import numpy as np

import pandas_imgproc

sys.path.insert(0, str(Path(__file__).parents[1]))
from image_factory import ROWS, image_bytes, row_of

Times = tuple[float, float]


def make(folder: Path, n: int, padding: int) -> None:
    """Write the members as files, and as archives."""
    images = [image_bytes(k) for k in range(min(n, ROWS))]
    noise = random.Random(0).randbytes(64 + padding)
    with zipfile.ZipFile(folder / "b.zip", "w") as archive, tarfile.open(folder / "b.tar", "w") as plain, \
            tarfile.open(folder / "b.tar.gz", "w:gz", compresslevel=1) as packed:  # fmt: skip
        for k in range(n):
            name, data = f"class{k % 100:03d}/{k}.jpg", images[k % ROWS] + noise[k % 64 : k % 64 + padding]
            (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "files" / name).write_bytes(data)
            archive.writestr(name, data)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for tar in (plain, packed):
                tar.addfile(info, io.BytesIO(data))


def times() -> Times:
    """Return the wall and the CPU time."""
    return time.perf_counter(), time.process_time()


def passed(since: Times) -> Times:
    """Return the wall and the CPU time since others."""
    now = times()
    return now[0] - since[0], now[1] - since[1]


def check(path: Path) -> tuple[Times, Times]:
    """Return the times of listing and of loading, and compare each label and each image."""
    start = times()
    df = pandas_imgproc.from_glob(path)
    listed, start = passed(start), times()
    with dask.config.set(scheduler="synchronous"):
        pixels = df.img.load_resized("image_path", 4, progress=False).img.to_numpy()
    loaded = passed(start)
    numbers = df["image_path"].str.extract(r"(\d+)\.jpg$")[0].astype(int).to_numpy()
    assert (df["label"].astype(str) == [f"class{k % 100:03d}" for k in numbers]).all()
    assert np.array_equal([row_of(image) for image in pixels], numbers % ROWS)
    return listed, loaded


def main(n: int = 5000, padding: int = 1200) -> None:
    """Print the times."""
    folder = Path(tempfile.mkdtemp())
    try:
        os.chdir(folder)
        make(folder, n, padding)
        base = check(Path("files"))
        for name in ("files", "b.zip", "b.tar", "b.tar.gz"):
            listed, loaded = check(Path(name))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            ratio = loaded[1] / base[1][1]
            print(f"{name:9} listed {listed[0]:5.2f} s ({listed[1]:.2f} CPU), loaded x{ratio:.2f}, {memory} MB")
        for name, extract in (("b.zip", zipfile.ZipFile), ("b.tar.gz", tarfile.open)):
            start = times()
            assert pandas_imgproc.unpack(name, "ours", progress=False).notna().sum() == n
            ours, start = passed(start), times()
            with extract(name) as archive:
                archive.extractall("theirs")
            theirs = passed(start)
            of_python = f"standard library {theirs[0]:.1f} s ({theirs[1]:.1f})"
            print(f"{name:9} unpacked {ours[0]:.1f} s ({ours[1]:.1f} CPU), {of_python}")
            shutil.rmtree("ours")
            shutil.rmtree("theirs")
        df = pandas_imgproc.from_glob("b.zip")
        for suffix in ("tar", "parquet"):
            start = times()
            shards = df.img.save_shards("image_path", f"s/{{shard:04d}}.{suffix}", columns=["label"], max_bytes="20 MB")
            wall, cpu = passed(start)
            rows = f"{shards.nunique()} shards of {shards.notna().sum()} rows"
            print(f"{suffix:9} {rows} in {wall:.1f} s ({cpu:.1f} CPU here)")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
