"""Items of a column by number, as a loader of another library reads them in its own processes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import _pickling, failures
from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.tasks.augment import calling_convention

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from pandas_imgproc.array import PixelFormat
    from pandas_imgproc.feeding.rows import Rows
    from pandas_imgproc.sinks import Missing

Array = np.ndarray[Any, np.dtype[Any]]


class ImageDataset:
    """Dataset of the images of a column: the map-style dataset of PyTorch, which needs no PyTorch.

    `Series.img.dataset` returns it. Item i is a tuple ``(position, image)``, or ``(position, image, label)``: the
    position of the row in the frame as int, and its pixels, a new ndarray of shape (height, width, channels), or
    the value of the transform. It is sent to other processes with its paths, and without the frame; images are read
    where the item is used, on one thread, and no cluster is started.

    Parameters
    ----------
    rows : Rows
        Images by position.
    positions : ndarray of int64, shape (n,)
        Positions of the rows of the dataset.
    labels : ndarray, shape (length of the column, ...), optional
        Values by position.
    form : PixelFormat
        Format of the pixels.
    missing : {"raise", "skip"} or number
        Value of an image that cannot be read; "skip" has left out those that could not, and raises as well.
    transform : callable, optional
        Function of the pixels before they get their format.
    index : Index
        Index of the column, for messages.
    table : DataFrame
        Failures of the rows that were left out.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
    >>> df = pd.DataFrame({"image_path": ["red.png", "gone.png", "blue.jpg"], "y": [5, 6, 7]})
    >>> readable = [True, False, True]
    >>> data = df.img.dataset("image_path", size=4, label="y", readable=readable)
    >>> len(data)
    2
    >>> position, image, label = data[1]
    >>> position, image.shape, int(label)
    (2, (4, 4, 3), 7)
    """

    def __init__(
        self,
        rows: Rows,
        positions: Array,
        labels: Array | None,
        form: PixelFormat,
        missing: Missing,
        transform: Callable[..., Any] | None,
        index: pd.Index[Any],
        table: pd.DataFrame,
    ) -> None:
        self._rows, self._form, self._missing, self._transform = rows, form, missing, transform
        self._positions, self._labels, self._index, self._table = positions, labels, index, table

    @property
    def positions(self) -> Array:
        """Positions in the frame of the items, ndarray of int64, shape (n,)."""
        return self._positions

    @property
    def failures(self) -> pd.DataFrame:
        """Failures of the rows that were left out when the dataset was built: a table as `Series.img.failures`."""
        return self._table

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        return self.__getitems__([i])[0]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (self[i] for i in range(len(self)))

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return several items, of which remote files are read concurrently; a DataLoader calls it for a batch."""
        positions = [self._position(i) for i in indices]
        part = self._rows.read(positions)
        assert part.values is not None
        for i in np.flatnonzero(part.status != 0):
            if isinstance(self._missing, str):
                failures.raise_for_row(positions[i], part.failures, self._index)
        images = [self._image(pixels, ok) for pixels, ok in zip(part.values, part.status == 0, strict=True)]
        if self._labels is None:
            return list(zip(positions, images, strict=True))
        return list(zip(positions, images, self._labels[positions], strict=True))

    def _position(self, i: int) -> int:
        try:
            return int(self._positions[i])
        except IndexError as exc:
            raise IndexError(f"item {i} of a dataset of {len(self):,}") from exc

    def _image(self, pixels: Array, is_readable: bool) -> Any:
        if not is_readable:
            return np.full(self._form.shape(pixels.shape), self._missing, self._form.dtype)
        if self._transform is None:
            return self._form.convert(pixels[np.newaxis])[0]
        rng = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002  a loader seeds this generator
        result = calling_convention(self._transform)(pixels, rng)
        result = result["image"] if isinstance(result, Mapping) and "image" in result else result
        return self._converted(result)

    def _converted(self, result: Any) -> Any:
        """Return the value of the transform in the format of the pixels; as it is, if no format is required."""
        if self._form.is_identity(self._rows.dtype):
            return result
        if not isinstance(result, np.ndarray) or result.ndim != 3:
            raise UserFunctionError(
                f"the transform returned {type(result).__name__}, and not an array of shape (height, width, channels), "
                "which dtype=, scale=, mean=, std= and channels= need; leave them to the transform, or it to them"
            )
        return self._form.convert(result[np.newaxis])[0]

    def __getstate__(self) -> dict[str, Any]:
        # A loader's process imports the script under another name, and has no cell of a notebook.
        return {**vars(self), "_transform": _pickling.dumps(self._transform)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _transform=pickle.loads(state["_transform"]))

    def __repr__(self) -> str:
        shape = self._form.shape(self._rows.image_shape)
        transform = "" if self._transform is None else ", transformed"
        return f"<ImageDataset of {len(self):,} images of {self._form.dtype} and shape {shape}{transform}>"
