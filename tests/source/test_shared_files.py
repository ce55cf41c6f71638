"""Files that several rows of a partition share: held for later rows, within a number of bytes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from image_factory import encoded, scene

from pandas_imgproc import codec
from pandas_imgproc.codec import decode
from pandas_imgproc.source import shared_files
from pandas_imgproc.source.shared_files import SharedFile, SharedFiles


class Reader:
    """Reader of files of a thousand bytes that counts its calls."""

    def __init__(self):
        self.calls = []

    def of(self, number):
        def read():
            self.calls.append(number)
            return bytes([number]) * 1000, (1000, number)

        return read


def test_file_is_read_once_and_dropped_after_its_last_row():
    reader, files = Reader(), SharedFiles([0, 0, 1, 0, 1])
    for number in (0, 0, 1, 0, 1):
        file = files.next_row(number, reader.of(number))
        assert file.read()[0][0] == number
        assert file.memo("frame", lambda: np.zeros(5)).nbytes == 40
    assert reader.calls == [0, 1]
    assert list(files._files) == [1]


def test_files_beyond_the_limit_are_read_again(monkeypatch):
    monkeypatch.setattr(shared_files, "MAX_HELD_NBYTES", 2500)
    numbers = [0, 1, 2, 3, 0, 1, 3, 2]
    reader, files = Reader(), SharedFiles(numbers)
    for number in numbers:
        files.next_row(number, reader.of(number)).read()
        assert sum(file.nbytes for file in files._files.values()) <= 3500
    assert reader.calls == [0, 1, 2, 3, 0, 1]


def test_bytes_of_a_decoded_image_count():
    data = encoded(scene(40, 30), "JPEG")
    for engine, n_channels in (("simd", 3), ("pillow", 4)):
        file = SharedFile(lambda: (data, (0, 0)), 1)
        file.read()
        options = codec.decode_options(8, engine=engine)
        file.memo(0, functools.partial(decode._decode_all, data, options, None))
        assert file.nbytes == len(data) + 40 * 30 * n_channels


def test_error_is_raised_for_each_row_and_computed_once():
    calls, file = [], SharedFile(lambda: 1 / 0, 3)

    def fail():
        calls.append(1)
        raise ValueError("broken")

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            file.read()
        with pytest.raises(ValueError, match="broken"):
            file.memo(0, fail)
    assert len(calls) == 1
