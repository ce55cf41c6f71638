"""Functions that hand keyword arguments on, and still show each of them in their signature."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pandas_imgproc.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
R = TypeVar("R")


def delegates(*to: tuple[Callable[..., object], Iterable[str]]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator for functions that hand their ``**options`` on to others.

    The signature shows what is handed on, with the defaults that it has there; what nobody takes is an error.

    Parameters
    ----------
    *to : tuple of (callable, iterable of str)
        What is given the options, and those of its keyword arguments that it is given.

    Examples
    --------
    >>> def paint(size, *, colour="red", width=1): ...
    >>> @delegates((paint, ["colour", "width"]))
    ... def circle(radius, **options):
    ...     return paint(2 * radius, **options)
    >>> inspect.signature(circle)
    <Signature (radius, *, colour='red', width=1)>
    >>> circle(1, color="blue")
    Traceback (most recent call last):
    TypeError: circle() has no argument 'color'; did you mean 'colour'?
    """
    more = [inspect.signature(function).parameters[name] for function, names in to for name in names]

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        shown = signature.replace(parameters=[*own, *more])

        @functools.wraps(method)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in shown.parameters:
                    legal = [known for known in shown.parameters if known != "self"]
                    raise TypeError(f"{method.__name__}() has no argument {name!r}; {did_you_mean(name, legal)}")
            return method(*args, **kwargs)

        called.__signature__ = shown  # type: ignore[attr-defined]
        return called

    return decorate
