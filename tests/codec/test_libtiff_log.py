"""Messages of libtiff as log records, while those of other threads are printed as before."""

from __future__ import annotations

import io
import logging
import os
import tempfile
import threading

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import tiff
from PIL import Image

import pandas_imgproc  # noqa: F401


@pytest.fixture(scope="module")
def broken():
    """Return the bytes of a TIFF file on which libtiff reports an error."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "TIFF", compression="tiff_lzw")
    data = bytearray(file.getvalue())
    start = Image.open(file).tag_v2[273][0]
    data[start + 40 : start + 80] = b"\xff" * 40
    return bytes(data)


def printed(function):
    """Return the bytes that a function writes to the standard error stream, by any code."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            function()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        file.seek(0)
        return file.read()


def decode(data):
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(data)).load()


def test_message_of_libtiff_is_logged_and_not_printed(broken, caplog):
    column = pd.Series([broken] * 3)

    def load():
        with dask.config.set(scheduler="threads"):
            failed = column.img.load_resized(8, errors="coerce").img.failures
        assert len(failed) == 3

    with caplog.at_level(logging.INFO, "pandas_imgproc"):
        assert printed(load) == b""
    assert sum("libtiff: " in record.getMessage() for record in caplog.records) >= 3


def test_message_of_other_thread_is_printed(broken):
    inside, done = threading.Event(), threading.Event()

    def hold(pixels):
        inside.set()
        assert done.wait(100)
        return 0

    def run():
        with dask.config.set(scheduler="synchronous"):
            pd.Series([np.zeros((2, 2), np.uint8)]).img.map(hold)

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(100)
    text = printed(lambda: decode(broken))
    done.set()
    thread.join()
    assert text.count(b"\n") >= 1


def test_error_that_pillow_logs_is_logged_and_not_printed(caplog):
    data = tiff(np.zeros((8, 56), np.uint8), 8, 1, n_bands=7)
    column = pd.Series([data])
    with caplog.at_level(logging.INFO):
        assert printed(lambda: column.img.load_resized(8, errors="coerce")) == b""
    assert [(record.name, record.levelno) for record in caplog.records] == [("pandas_imgproc", logging.INFO)] * 3
    caplog.clear()
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(data))
    assert [record.name for record in caplog.records] == ["PIL.TiffImagePlugin"]
