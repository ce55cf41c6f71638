"""Settings: durations in Dask's notation, and illegal values, which end a call before it starts."""

from __future__ import annotations

import math

import dask
import pandas as pd
import pytest
from image_factory import row_image

from pandas_imgproc.config import DEFAULTS, setting


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("row-timeout", "10s", 10.0),
        ("row-timeout", 60, 60.0),
        ("row-timeout", None, None),
        ("no-workers-timeout", "2 minutes", 120.0),
        ("inline-threshold", 0, 0.0),
        ("inline-threshold", math.inf, math.inf),
        ("retry-wait-max", "500ms", 0.5),
        ("retry-attempts", 3, 3),
        ("prefetch-bytes", "8 MB", 8_000_000),
        ("prefetch-bytes", 1000, 1000),
    ],
)
def test_setting_is_a_number(name, value, expected):
    with dask.config.set({f"pandas-imgproc.{name}": value}):
        assert setting(name) == expected


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_is_legal(name):
    with dask.config.set({f"pandas-imgproc.{name}": DEFAULTS[name]}):
        setting(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("row-timeout", "long"),
        ("row-timeout", ""),
        ("row-timeout", 0),
        ("row-timeout", False),
        ("no-workers-timeout", [60]),
        ("scheduler-timeout", None),
        ("scheduler-timeout", "-1s"),
        ("partition-seconds", 0),
        ("inline-threshold", math.nan),
        ("inline-threshold-warm", -1),
        ("progress-delay", "soon"),
        ("read-timeout", "10 parsecs"),
        ("retry-attempts", 1.5),
        ("retry-attempts", "3"),
        ("max-connections", math.inf),
        ("dashboard-thumbnails", "off"),
        ("dashboard-thumbnails", 1),
        ("prefetch-bytes", "a lot"),
        ("prefetch-bytes", 0),
        ("low-speed-limit", -1),
    ],
)
def test_illegal_setting_ends_a_call_before_anything_is_written(tmp_path, name, value):
    row_image(0, (8, 8)).save(tmp_path / "0.png")
    message = rf"pandas-imgproc\.{name}=.* in the configuration is not a"
    with dask.config.set({f"pandas-imgproc.{name}": value}), pytest.raises(ValueError, match=message):
        pd.Series([str(tmp_path / "0.png")]).img.load_resized(4, out=tmp_path / "x.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]
