"""Continuation of a job after its calling process was killed, compared with an undisturbed job.

    python tests/benchmarks/killed_caller.py FOLDER [--images 5000] [--size 64] [--at 10 50 90]

It counts the rows that the second run reads: no finished row of the journal may be among them.
"""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd

import pandas_imgproc
from pandas_imgproc.sinks.journal import Journal
from pandas_imgproc.sinks.journal_storage import LocalJournal

CALLER = """
import sys, pandas as pd, pandas_imgproc, dask
paths = pd.read_csv(sys.argv[1])["path"]
with dask.config.set({"pandas-imgproc.partition-seconds": 0.2}):
    paths.img.load_resized(int(sys.argv[3]), out=sys.argv[2], progress=False, errors="coerce")
"""


def journal_of(out: Path) -> Path:
    return out / "_journal.jsonl" if out.suffix == ".parquet" else Path(f"{out}.journal")


def done_rows(out: Path) -> int:
    path = journal_of(out)
    return int(Journal(LocalJournal(str(path))).done.sum()) if path.exists() else 0


def counted(call) -> int:
    """Return the number of rows that a call has done, from its summary in the log."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("pandas_imgproc")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    call()
    logger.removeHandler(handler)
    found = [re.match(r"load_resized: ([\d,]+) images in", line) for line in lines]
    return sum(int(match[1].replace(",", "")) for match in found if match)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--at", type=int, nargs="+", default=[10, 50, 90], help="percent of the rows")
    options = parser.parse_args()
    files = sorted(str(path) for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = pd.Series(list(islice(cycle(files), options.images)), name="path")
    with tempfile.TemporaryDirectory() as work:
        expected = paths.img.load_resized(options.size, errors="coerce", progress=False)
        block = expected.img.to_numpy(na_value=0)
        paths.to_csv(f"{work}/paths.csv")
        for name in ("x.npy", "x.parquet"):
            for percent in options.at:
                out = Path(work) / name
                caller = subprocess.Popen(
                    [sys.executable, "-c", CALLER, f"{work}/paths.csv", str(out), str(options.size)]
                )
                while done_rows(out) < options.images * percent / 100 and caller.poll() is None:
                    time.sleep(0.02)
                caller.kill()
                caller.wait()
                before = done_rows(out)
                again = counted(lambda out=out: paths.img.load_resized(options.size, out=out, errors="coerce"))
                column = pandas_imgproc.read_result(out)
                same = np.array_equal(column.img.to_numpy(na_value=0), block)
                print(
                    f"{name}, killed at {percent} %: {before} rows were done, {again} were done by the second run, "
                    f"{before + again - options.images} twice; {'identical' if same else 'DIFFERENT'}",
                    flush=True,
                )
                shutil.rmtree(out) if out.is_dir() else out.unlink()
                for rest in Path(work).glob("x.npy.*"):
                    rest.unlink()
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
