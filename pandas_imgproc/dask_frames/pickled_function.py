"""Functions of partitions that cannot be unpickled where they arrive: an error of their task, not of the worker.

Dask unpickles tasks as they arrive. At one that fails there, because a module is missing, it closes the worker for
good, and then each other worker that is given the task; the caller waits without end.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from pandas_imgproc._pickling import dumps
from pandas_imgproc._version import __version__
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.execution import unpickling_message

if TYPE_CHECKING:
    from collections.abc import Callable


def reduce_function(build: Callable[[], Any]) -> tuple[Any, ...]:
    """Return a result of `object.__reduce__`: of the function that `build` returns."""
    return open_function, (dumps(build), __version__)


def open_function(data: bytes, version: str) -> Any:
    """Return the function that a pickled callable returns, or one that raises the reason why there is none.

    `version` is the version of this package in the process that pickled it.
    """
    try:
        return pickle.loads(data)()
    except Exception as exc:  # a module that is imported may raise any
        return UnopenedFunction(data, version, exc)


@dataclass(frozen=True)
class UnopenedFunction:
    """Function of a partition that could not be unpickled in this process; another process may be able to.

    Attributes
    ----------
    data : bytes
        Pickled callable that returns the function.
    version : str
        Version of this package in the process that pickled it.
    error : Exception
        Reason.
    """

    data: bytes = field(repr=False)  # Dask logs the functions of tasks, and options may hold a password
    version: str
    error: Exception

    def __call__(self, *_: Any) -> NoReturn:
        """Raise a ClusterError with the reason."""
        raise ClusterError(unpickling_message(self.error, self.version)) from self.error

    def __reduce__(self) -> tuple[Any, ...]:
        return open_function, (self.data, self.version)
