"""Rows that end their process, or never end, cost themselves and nobody else."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

import cloudpickle
import dask
import image_factory
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of

from conftest import wait_until

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 1000
ROW_TIMEOUT = 5.0
"""Seconds that no row takes which ends, on whatever machine."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deaths")
    for number in range(N):
        row_image(number, (12, 8)).save(folder / f"{number}.png")
    return pd.Series([str(folder / f"{number}.png") for number in range(N)])


def late(signal_number, seconds):
    threading.Timer(seconds, os.kill, (os.getpid(), signal_number)).start()


WAYS = {
    "exit": lambda: os._exit(3),
    "signal": lambda: os.kill(os.getpid(), signal.SIGSEGV),  # which may arrive when the row is over
    "null": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "never": signal.pause,
    "sys.exit": lambda: sys.exit(4),
}
KINDS = {"never": "timeout", "sys.exit": "function"}


def deadly(ways):
    """A function of pixels that gives the row they show, but ends its process at some."""

    def number(pixels):
        row = row_of(pixels)
        if row in ways:
            WAYS[ways[row]]()
        return row

    return number


def check(answer, ways):
    expected = {row: KINDS.get(way, "worker_died") for row, way in ways.items()}
    assert answer.img.failures["kind"].to_dict() == expected
    assert answer.drop(list(ways)).tolist() == [row for row in range(len(answer)) if row not in ways]


@pytest.fixture
def both_workers(own_cluster):
    """The cluster has both of its workers again afterwards."""
    yield
    assert wait_until(lambda: len(own_cluster.scheduler_info()["workers"]) == 2)


# Nearly all of the time is that of starting workers again, two for each death.
@pytest.mark.parametrize("some", [("exit", "signal", "null"), ("abort", "killed", "never", "sys.exit")])
def test_seven_ways_to_die_in_a_thousand_rows(paths, both_workers, some):
    rows = np.random.default_rng(0).choice(N, len(some), replace=False).tolist()
    ways = dict(zip(rows, some, strict=True))
    with dask.config.set({"pandas-imgproc.row-timeout": ROW_TIMEOUT}):
        check(paths.img.map(deadly(ways), errors="coerce"), ways)


def test_neighbours_that_all_kill(paths, both_workers):
    ways = dict.fromkeys((3, 4), "exit")
    check(paths[:20].img.map(deadly(ways), errors="coerce", npartitions=1), ways)


def test_the_row_after_one_that_dies_late_is_not_blamed(paths, both_workers):
    def number(pixels):
        row = row_of(pixels)
        if row == 5:
            late(signal.SIGKILL, 0.01)
        else:
            time.sleep(0.02)
        return row

    answer = paths[:20].img.map(number, errors="coerce", npartitions=1)
    assert answer.img.failures["kind"].to_dict() == {5: "worker_died"}


def test_a_row_that_never_ends_waits_for_no_other(paths, both_workers):
    # Both workers are stuck at once, and a finished partition was lost with one of them.
    ways = dict.fromkeys((0, 20, 40, 60), "never")
    with dask.config.set({"pandas-imgproc.row-timeout": ROW_TIMEOUT}):
        check(paths[:80].img.map(deadly(ways), errors="coerce", npartitions=8), ways)
