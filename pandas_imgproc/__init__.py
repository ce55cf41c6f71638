"""Accessor ``.img`` for pandas: a column of image paths becomes a column of images.

>>> import pandas as pd
>>> import pandas_imgproc  # registers .img
>>> from PIL import Image
>>> Image.new("RGB", (30, 20), "red").save("red.png")
>>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
>>> df = pd.DataFrame({"image_path": ["red.png", "blue.jpg"]})
>>> df["image"] = df.img.load_resized("image_path", size=64)
>>> df["image"].img.to_numpy().shape
(2, 64, 64, 3)
"""

from pandas_imgproc import _sigint  # noqa: F401 - before the imports that take time
from pandas_imgproc._gc_pause import gc_paused

with gc_paused():
    from pandas_imgproc import _atomic_imports  # noqa: F401, I001 - before all that imports Dask
    from pandas_imgproc import accessor, dask_frames
    from pandas_imgproc._version import __version__
    from pandas_imgproc.accessor import FrameImageAccessor as ImageAccessor
    from pandas_imgproc.accessor import SeriesImageAccessor
    from pandas_imgproc.accessor.display.table import style
    from pandas_imgproc.accessor.display.tiles import thumbnail
    from pandas_imgproc.api import load_image
    from pandas_imgproc.array import ImageArray, ImageCell, ImageDtype
    from pandas_imgproc.cluster import close, get_client, register_dashboard
    from pandas_imgproc.cluster.notebook_page import dashboard
    from pandas_imgproc.codec import FORMATS
    from pandas_imgproc.discovery import from_glob
    from pandas_imgproc.errors import (
        FAILURE_KINDS,
        BatchLengthError,
        ClusterError,
        ImgprocError,
        JournalError,
        MissingExtraError,
        MissingImagesError,
        NoReadableImageError,
        OutputError,
        ResultTooLargeError,
        UnreadableImageError,
        UnreadableImageWarning,
        UserFunctionError,
        UserFunctionWarning,
    )
    from pandas_imgproc.features import register_feature, unregister_feature
    from pandas_imgproc.feeding import ImageBatches, ImageDataset
    from pandas_imgproc.scaling import scaling_report
    from pandas_imgproc.sinks.out import read_result
    from pandas_imgproc.unpacking import unpack

    accessor.register()
    dask_frames.register()

__all__ = [
    "FAILURE_KINDS",
    "FORMATS",
    "BatchLengthError",
    "ClusterError",
    "ImageAccessor",
    "ImageArray",
    "ImageBatches",
    "ImageCell",
    "ImageDataset",
    "ImageDtype",
    "ImgprocError",
    "JournalError",
    "MissingExtraError",
    "MissingImagesError",
    "NoReadableImageError",
    "OutputError",
    "ResultTooLargeError",
    "SeriesImageAccessor",
    "UnreadableImageError",
    "UnreadableImageWarning",
    "UserFunctionError",
    "UserFunctionWarning",
    "__version__",
    "close",
    "dashboard",
    "from_glob",
    "get_client",
    "load_image",
    "read_result",
    "register_dashboard",
    "register_feature",
    "scaling_report",
    "style",
    "thumbnail",
    "unpack",
    "unregister_feature",
]
