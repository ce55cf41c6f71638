"""Batches of a training loop, with the positions of their rows in the frame, pass after pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import failures
from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_int
from pandas_imgproc.execution import BatchStream
from pandas_imgproc.sinks import BatchSink, BatchSpec, check_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from pandas_imgproc.feeding.rows import Rows
    from pandas_imgproc.sinks import Batch
    from pandas_imgproc.source import Source

Array = np.ndarray[Any, np.dtype[Any]]

_IDENTITY = ("n_rows", "shuffle", "seed")
"""Keys of a state that must be those of the batches that continue from it."""


class ImageBatches:
    """Batches of the images of a column; each ``iter`` is the next pass over its rows.

    `Series.img.batches` returns it. An item is a tuple ``(positions, images)``: the positions of the rows in the frame,
    ndarray of int64, shape (k,), and their pixels, a new ndarray of shape (k, height, width, channels), or
    (k, channels, height, width). Images are decoded on threads while the loop works, and a loop that ends early leaves
    nothing behind.

    Parameters
    ----------
    rows : Rows
        Images by position.
    spec : BatchSpec
        Size and form of the batches.
    index : Index
        Index of the column, for messages.
    source : Source
        Source of the images, for messages.
    shuffle : bool
        Whether a pass is in random order.
    seed : int
        Seed of the order.
    prefetch : int
        Batches that are decoded ahead of the loop.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
    >>> df = pd.DataFrame({"image_path": ["red.png", "gone.png", "blue.jpg"], "y": [5, 6, 7]})
    >>> batches = df.img.batches("image_path", size=4, batch_size=2, missing=0)
    >>> for positions, images in batches:
    ...     print(df["y"].to_numpy()[positions], images.shape)
    [5 6] (2, 4, 4, 3)
    [7] (1, 4, 4, 3)
    >>> batches.failures["kind"].to_dict()
    {1: 'missing'}
    """

    def __init__(
        self,
        rows: Rows,
        spec: BatchSpec,
        index: pd.Index[Any],
        source: Source,
        *,
        shuffle: bool,
        seed: int,
        prefetch: int,
    ) -> None:
        self._rows, self._spec, self._index, self._source = rows, spec, index, source
        self._shuffle, self._seed, self._prefetch = shuffle, seed, prefetch
        self._next = self._at = (0, 0)  # of the next pass, and batch: number of the pass, rows of its order before it
        self._sink: BatchSink | None = None  # of the latest pass
        self._n_missing = int(rows.missing().sum())
        self._has_warned = False

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        epoch, n_given = self._at = self._next
        self._next = (epoch + 1, 0)
        check_memory(
            f"batches: {self._prefetch} batches of {self._spec.batch_size:,} images, and that of the loop, need",
            (self._prefetch + 1) * self._spec.batch_size * self._spec.nbytes_per_row,
            "pass a smaller batch_size=, prefetch= or size=",
        )
        self._sink = BatchSink(self._spec, len(self._rows) - n_given)
        return self._iterate(self._sink, epoch, n_given)

    def _iterate(self, sink: BatchSink, epoch: int, n_given: int) -> Iterator[tuple[Array, Array]]:
        order, max_rows = self._order(epoch)[n_given:], self._prefetch * self._spec.batch_size
        with BatchStream(self._rows.read, order, sink, max_rows, is_remote=self._rows.is_remote) as stream:
            for batch in stream:
                self._at = (epoch, n_given + batch.n_read)
                yield _arrays(batch)
        self._check(sink)
        self._at = (epoch + 1, 0)
        if not n_given:
            self._n_missing = sink.n_missing

    def _order(self, epoch: int) -> Array:
        """Return the positions of all rows in the order of a pass, by the seed and its number alone."""
        n = len(self._rows)
        return np.random.default_rng((self._seed, epoch)).permutation(n) if self._shuffle else np.arange(n)

    def _check(self, sink: BatchSink) -> None:
        """Raise the error of a row without an image, or warn of such rows at the end of a pass, once."""
        found = failures.Skipped(sink.failures, sink.n_read, sink.n_missing, self._index, self._source)
        if sink.stopped_at is not None:
            found.raise_for_row(sink.stopped_at)
        found.check_any_readable()
        if sink.failures and self._spec.missing == "skip" and not self._has_warned:
            self._has_warned = True
            found.warn("were left out", "The table of them is batches.failures; missing='raise' stops.")

    def __len__(self) -> int:
        n_rows = len(self._rows) - (self._n_missing if self._spec.missing == "skip" else 0)
        return (math.floor if self._spec.drop_last else math.ceil)(n_rows / self._spec.batch_size)

    @property
    def failures(self) -> pd.DataFrame:
        """Failures of the latest pass, of the rows that it has read: a table as `Series.img.failures`."""
        return failures.failures_table([] if self._sink is None else self._sink.failures, self._index)

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next pass, from 0 up, which decides its order together with the seed."""
        self._next = self._at = (check_int("epoch", epoch, 0), 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the latest batch, as built-in types: `load_state_dict` continues there.

        Returns
        -------
        dict
            ``epoch``: the number of the pass. ``row``: the rows of its order that were given. And the numbers and
            options on which the order depends.
        """
        epoch, row = self._at
        return {"epoch": epoch, "row": row, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the batch after that of a state.

        Parameters
        ----------
        state : dict
            Of `state_dict`.

        Raises
        ------
        ValueError
            If the state is that of another number of rows, another order or no state.
        """
        try:
            saved = {name: state[name] for name in _IDENTITY}
            at = check_int("epoch", state["epoch"], 0), check_int("row", state["row"], 0, len(self._rows))
        except (KeyError, TypeError) as exc:
            raise ValueError(f"state={shorten(state)} is no state of batches: give one of state_dict()") from exc
        if saved != self._identity():
            raise ValueError(
                f"the state is that of {saved}, and these batches have {self._identity()}: it has another order"
            )
        self._next = self._at = at

    def _identity(self) -> dict[str, Any]:
        return {"n_rows": len(self._rows), "shuffle": self._shuffle, "seed": self._seed}

    def __repr__(self) -> str:
        order = f"shuffle=True, seed={self._seed}" if self._shuffle else "shuffle=False"
        shape = self._spec.form.shape(self._spec.image_shape)
        return (
            f"<ImageBatches of {len(self._rows):,} rows: batch_size={self._spec.batch_size}, {order}, images of "
            f"{self._spec.form.dtype} and shape {shape}>"
        )


def _arrays(batch: Batch) -> tuple[Array, Array]:
    return batch.positions[: batch.n], batch.images[: batch.n]
