"""Inline execution on threads, and the memory of results."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image

from pandas_imgproc.sinks.memory import SharedMemorySink


def test_threads_write_values_themselves(tmp_path, monkeypatch):
    """The caller's thread would be one for all."""
    for number in range(30):
        row_image(number, (24, 16)).save(tmp_path / f"{number}.png")
    paths = pd.Series([str(tmp_path / f"{number}.png") for number in range(30)])
    with dask.config.set(scheduler="threads"):
        expected = paths.img.load_resized(120).img.to_numpy()
        monkeypatch.setattr(SharedMemorySink, "commit", lambda self, result: self._record_status(result))
        assert np.array_equal(paths.img.load_resized(120).img.to_numpy(), expected)
    assert expected.nbytes > 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="results lie in anonymous files on Linux only")
@pytest.mark.parametrize("scheduler", ["threads", "distributed"])
def test_a_dropped_result_is_freed_at_once(tmp_path, managed_cluster, scheduler):
    """With cycles it would wait for the garbage collector, and a loop over calls would hold several results."""
    row_image(0, (24, 16)).save(tmp_path / "a.png")
    paths = pd.Series([str(tmp_path / "a.png"), "missing.png"] * 20)
    gc.collect()
    before = _n_mapped_results()
    gc.disable()
    try:
        with dask.config.set(scheduler=scheduler):
            image = paths.img.load_resized(120, errors="coerce")
        # Not by `.img`: before version 3, pandas keeps the accessor in the Series, and so a cycle.
        assert image.array.to_numpy(na_value=0).size == 40
        assert _n_mapped_results() == before + 1
        del image
        assert _n_mapped_results() == before
    finally:
        gc.enable()


def _n_mapped_results():
    return Path("/proc/self/maps").read_text().count("memfd:pandas-imgproc")
