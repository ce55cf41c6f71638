"""Inline execution on threads."""

from __future__ import annotations

import dask
import numpy as np
import pandas as pd
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
