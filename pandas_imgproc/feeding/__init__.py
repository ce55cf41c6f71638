"""Feeding of models: batches for a training loop, and items for the loader of another library.

`rows`     images of a column by position: decoded, or taken from a block of pixels
`batches`  batches with the positions of their rows, pass after pass
`dataset`  items by number, for worker processes
"""

from pandas_imgproc.feeding.batches import ImageBatches
from pandas_imgproc.feeding.dataset import ImageDataset
from pandas_imgproc.feeding.rows import DecodedRows, Rows, StoredRows

__all__ = ["DecodedRows", "ImageBatches", "ImageDataset", "Rows", "StoredRows"]
