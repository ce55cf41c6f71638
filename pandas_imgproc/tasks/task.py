"""What the kernel and the drivers need to know of a task, and what tasks share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from pandas_imgproc.errors import Failure, FailureKind
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
