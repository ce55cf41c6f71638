"""Progress: silence for short jobs, a bar for long ones, lines of logging without a terminal."""

from __future__ import annotations

import io
import logging
import os
import re
import sys

import dask
import pandas as pd
import pytest
from image_factory import row_image

from pandas_imgproc.execution.progress import progress


@pytest.fixture
def paths(tmp_path):
    row_image(7).save(tmp_path / "7.png")
    return pd.Series([str(tmp_path / "7.png")] * 90 + ["gone.png"] * 10)


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def run_and_capture(monkeypatch, paths, stream, **config):
    monkeypatch.setattr(sys, "stderr", stream)
    # On a busy machine the job would move to the cluster.
    config = {"inline_threshold": 1000, "inline_threshold_warm": 1000} | config
    with dask.config.set({f"pandas-imgproc.{name.replace('_', '-')}": value for name, value in config.items()}):
        paths.img.load_resized(8, errors="coerce")
    return stream.getvalue()


def test_short_job_is_silent(monkeypatch, paths, caplog):
    caplog.set_level(logging.INFO)
    for stream in (_Terminal(), io.StringIO()):
        assert run_and_capture(monkeypatch, paths, stream, progress_delay=1000) == ""
    assert not caplog.records


def test_terminal_shows_bar_and_summary(monkeypatch, paths):
    text = run_and_capture(monkeypatch, paths, _Terminal(), progress_delay=0)
    assert "load_resized: 100%" in text
    assert re.search(r"100/100 \[.* images/s, 10 failed\]", text)
    last = next(line for line in re.split(r"[\r\n]", text) if line.startswith("load_resized: 100 images in"))
    assert re.search(r"images/s\); .* s of CPU time; 10 failed; inline on", last)
    assert re.search(r"; slowest stage: \w+ \(\d+%\)$", last)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_terminal_of_unknown_size_shows_bar(monkeypatch, paths):
    reader, writer = os.openpty()  # of no columns and rows
    with open(reader, "rb", buffering=0) as terminal, open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        config = {"progress-delay": 0, "inline-threshold": 1000, "inline-threshold-warm": 1000}
        with dask.config.set({f"pandas-imgproc.{name}": value for name, value in config.items()}):
            paths.img.load_resized(8, errors="coerce", progress=True)
        stream.flush()
        text = b""
        while b"load_resized: 100 images in" not in text:  # the last line; a read may return any part
            text += terminal.read(2**16)
        assert b"load_resized: 100%" in text


def test_progress_false_is_silent_in_a_terminal(monkeypatch, paths):
    assert run_and_capture(monkeypatch, paths, _Terminal(), progress_delay=0, progress=False) == ""


def test_tenths_are_logged_without_a_terminal(monkeypatch, paths, caplog):
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    assert run_and_capture(monkeypatch, paths, io.StringIO(), progress_delay=0) == ""
    lines = [record.getMessage() for record in caplog.records]
    assert re.match(r"load_resized: 100%, 100 of 100 images, [\d,]+ images/s, .* left, 10 failed", lines[-2])
    assert lines[-1].startswith("load_resized: 100 images in")
    assert len(lines) <= 11


def test_bar_is_closed_after_an_error(monkeypatch):
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with (  # noqa: PT012
        dask.config.set({"pandas-imgproc.progress-delay": 0}),
        pytest.raises(KeyboardInterrupt),
        progress("load_resized", 10, show=True) as bar,
    ):
        bar.update(3, 0)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\n")


@pytest.mark.parametrize("show", [None, True])
@pytest.mark.parametrize("stream", ["none", "closed", "only writes"])
def test_stream_that_is_no_terminal_is_no_error(monkeypatch, paths, caplog, stream, show):
    """Services and `pythonw` have no stderr."""
    closed = io.StringIO()
    closed.close()

    class OnlyWrites:
        write = staticmethod(len)
        flush = staticmethod(lambda: None)

    monkeypatch.setattr(sys, "stderr", {"none": None, "closed": closed, "only writes": OnlyWrites()}[stream])
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    with dask.config.set({"pandas-imgproc.progress-delay": 0}):
        assert paths.img.load_resized(8, errors="coerce", progress=show).isna().sum() == 10
    if show is None or stream != "only writes":
        assert caplog.records[-1].getMessage().startswith("load_resized: 100 images in")


def test_numbers_are_grouped_alike(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    with dask.config.set({"pandas-imgproc.progress-delay": 0}):
        stream = _Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        with progress("map", 5403, show=True) as bar:
            bar.update(1012, 2001)
        assert re.search(r"1,012/5,403 \[.*, 2,001 failed\]", stream.getvalue())
        monkeypatch.setattr(sys, "stderr", None)
        with progress("map", 5403) as bar:
            bar.update(1012, 2001)
        assert re.match(r"map: 18%, 1,012 of 5,403 images, [\d,]+ images/s, .* 2,001 failed$", caplog.messages[-1])


def test_resumed_job_says_what_it_continues(monkeypatch, paths, tmp_path, caplog):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    rows = paths[:90]
    with dask.config.set({"pandas-imgproc.progress-delay": 0, "scheduler": "threads"}):
        rows[:40].img.load_resized(8, out=tmp_path / "x.npy")
        assert not [line for line in caplog.messages if "before" in line]
        caplog.clear()
        rows.img.load_resized(8, out=tmp_path / "x.npy")
        assert caplog.messages[0] == "load_resized: continues after 40 of 90 rows, which were finished before"
        assert all(" of 90 " in line for line in caplog.messages)
        assert caplog.messages[-1].startswith("load_resized: the other 50 of 90 images in")
        caplog.clear()
        rows.img.load_resized(8, out=tmp_path / "x.npy")
    assert caplog.messages == ["load_resized: nothing to do: all 90 rows were finished before"]


def test_thumbnails_have_their_own_name_and_the_files_of_save_resized(monkeypatch, paths, tmp_path, caplog):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    with dask.config.set({"pandas-imgproc.progress-delay": 0, "scheduler": "threads"}):
        paths[:1].img.save_thumbnails(tmp_path / "out", 8)
        assert caplog.messages[-1].startswith("save_thumbnails: 1 images in")
        paths[:1].img.save_resized(tmp_path / "out", 8, fit="thumbnail", reducing_gap=1.5)
    assert caplog.messages[-1] == "save_resized: nothing to do: all 1 rows were finished before"
