"""What one row means. A task is a frozen value: equal tasks give equal answers, on any machine.

A new feature is a new task; the kernel knows none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc.array import ImageArray
from pandas_imgproc.errors import FAILURE_KINDS, Failure, FailureKind

if TYPE_CHECKING:
    from pandas_imgproc.source import File

Values = np.ndarray[Any, np.dtype[Any]]


class Task(Protocol):
    """What the kernel and the drivers need to know of a task.

    Attributes
    ----------
    name : str
        The method's name: what the dashboard and the summary call it.
    copies : int
        Rows of the answer for each row of the frame.
    """

    @property
    def name(self) -> str:  # noqa: D102  see Attributes
        ...

    @property
    def copies(self) -> int:  # noqa: D102  see Attributes
        ...

    def empty(self, n: int) -> Values:
        """Return room for n rows, holding what a row without an answer holds."""
        ...

    def fill(self, out: Values, position: int, file: File) -> None:
        """Write the answer of one row into ``out[:copies]``."""
        ...

    def explain(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return the kind and the message of what `fill` raised."""
        ...

    def wrap(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return the answer as pandas; the only place where the index comes back."""
        ...


@dataclass(frozen=True)
class LoadResized:
    """Each picture as pixels of one shape.

    Attributes
    ----------
    recipe : Recipe
        Everything that changes the pixels.
    """

    recipe: codec.Recipe
    name: ClassVar[str] = "load_resized"
    copies: ClassVar[int] = 1

    def empty(self, n: int) -> Values:
        """Return n black pictures: ndarray of uint8, shape (n, height, width, channels)."""
        return np.zeros((n, *self.recipe.shape), dtype=np.uint8)

    def fill(self, out: Values, position: int, file: File) -> None:  # noqa: ARG002  the protocol's
        """Decode one picture into ``out[0]``."""
        codec.decode_into(file.data(), self.recipe, out[0])

    def explain(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return why a picture could not be read."""
        return codec.explain(exc)

    def wrap(
        self, values: Values, status: Values, failures: tuple[Failure, ...], index: pd.Index[Any]
    ) -> pd.Series[Any]:
        """Return the Series named ``image``, backed by the very block that was filled."""
        return pd.Series(ImageArray(values, status, failures), index=index, name="image", copy=False)


@dataclass(frozen=True)
class Verify:
    """Whether each picture can be read to its last pixel; no pixel is kept.

    Attributes
    ----------
    recipe : Recipe
        Of full size: what is decoded, and by which formats and limits.
    """

    recipe: codec.Recipe
    name: ClassVar[str] = "verify"
    copies: ClassVar[int] = 1

    def empty(self, n: int) -> Values:
        """Return n rows of nothing: the verdict is the row's status."""
        return np.zeros((n, 0), dtype=np.uint8)

    def fill(self, out: Values, position: int, file: File) -> None:  # noqa: ARG002  the protocol's
        """Decode one picture, or raise."""
        codec.load(file.data(), self.recipe)

    def explain(self, exc: BaseException) -> tuple[FailureKind, str]:
        """Return why a picture could not be read."""
        return codec.explain(exc)

    def wrap(
        self,
        values: Values,  # noqa: ARG002  there are none
        status: Values,
        failures: tuple[Failure, ...],
        index: pd.Index[Any],
    ) -> pd.DataFrame:
        """Return the DataFrame ``kind``, ``message``: both missing where nothing is wrong."""
        kinds = [failures[code - 1]["kind"] if code > 0 else None for code in status]
        messages = [failures[code - 1]["message"] if code > 0 else None for code in status]
        columns = {
            "kind": pd.Categorical(kinds, categories=list(FAILURE_KINDS)),
            "message": pd.array(messages, dtype="string"),
        }
        frame = pd.DataFrame(columns, index=index)
        frame.attrs["failures"] = labelled(failures, index)
        return frame


def labelled(failures: tuple[Failure, ...], index: pd.Index[Any]) -> tuple[dict[str, Any], ...]:
    """Return failures with the labels of their rows, for ``attrs``, which stay as they are when rows are selected.

    Plain values only: pandas writes ``attrs`` as JSON.

    Examples
    --------
    >>> from pandas_imgproc.errors import failure
    >>> labelled((failure(1, "b.jpg", "empty", "the file has no bytes"),), pd.Index([10, 20]))[0]["label"]
    20
    """
    return tuple({"label": _plain(index[failed["position"]]), **failed} for failed in failures)


def _plain(label: Any) -> Any:
    if isinstance(label, tuple):
        return tuple(map(_plain, label))
    value = label.item() if isinstance(label, np.generic) else label
    return value if isinstance(value, str | int | float | bool | None) else str(value)
