"""Calls as users write them, which mypy checks: no name or return type may be lost to checkers and editors."""

from __future__ import annotations

import pandas as pd

import pandas_imgproc


def call_methods(df: pd.DataFrame, column: pd.Series[str]) -> pd.DataFrame:
    """Call methods of both accessors; the names of the variables' types are those that a user may rely on."""
    images = pandas_imgproc.ImageAccessor(df)
    resized: pd.Series = images.load_resized("image_path", 64, root="photos", suffix=".jpg", fit="crop")
    sheet = images.show("image_path", title="label")
    sheet.save("sheet.png")
    for positions, batch in images.batches("image_path", size=32, batch_size=8, shuffle=True):
        print(positions.shape, batch.dtype)
    array = pandas_imgproc.SeriesImageAccessor(resized).to_numpy(scale=1 / 255, channels="first")
    hashes = pandas_imgproc.SeriesImageAccessor(column).hash("phash")
    print(array.shape, hashes.nunique(), images.duplicate_groups("image_path").nunique())
    features: pd.DataFrame = images.features("image_path", ["brightness"])
    found: list[pd.DataFrame] = [images.issues("image_path", dark=0.2), pandas_imgproc.ImageAccessor(features).issues()]
    return pd.concat([features, *found, images.metadata("image_path"), images.verify("image_path")], axis=1)
