"""Registration of ``.img`` and the image dtype with Dask, once dask.dataframe is imported.

This module does not import Dask: half a second for users who never use a Dask frame.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import wrapt

from pandas_imgproc.array import ImageArray, ImageCell, ImageDtype


@functools.cache
def register() -> None:
    """Register accessor and dtype with Dask, now or when Dask is imported. A second call does nothing.

    Examples
    --------
    >>> register()
    """
    wrapt.when_imported("dask.tokenize")(_register_tokens)
    wrapt.when_imported("dask.dataframe")(_register_dtype)
    wrapt.when_imported("dask.dataframe")(_register_accessor)


def _register_tokens(tokenize: Any) -> None:
    # Dask's own rule for extension arrays converts to an object array: slow, and without the failures.
    tokenize.normalize_token.register(ImageArray, ImageArray.__dask_tokenize__)
    tokenize.normalize_token.register(ImageDtype, ImageDtype.__dask_tokenize__)


def _register_dtype(dataframe: Any) -> None:
    dataframe.extensions.make_array_nonempty.register(ImageDtype, _meta_nonempty)
    dataframe.extensions.make_scalar.register(ImageCell, _identity)


def _register_accessor(_: Any) -> None:
    importlib.import_module("pandas_imgproc.dask_frames.accessor")


def _meta_nonempty(dtype: ImageDtype) -> ImageArray:
    """Return two images, on which Dask tries an operation to infer the columns of its result."""
    return ImageArray(np.zeros((2, *dtype.shape), dtype=dtype.subtype))


def _identity(value: ImageCell) -> ImageCell:
    return value
