"""Delegation of keyword arguments: a decorator that lists them in the signature of a function with ``**options``."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar, get_origin

from pandas_imgproc.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

P = ParamSpec("P")
R = TypeVar("R")


_FIRST = ("fit", "root", "suffix", "errors")
"""Options that a signature shows before all others: those that most calls need."""

_ON_ALL_CORES = "calls use all cores; dask.config.set({'pandas-imgproc.n-workers': 4}) limits them"
_WORKERS = ("max_workers", "n_jobs", "n_workers", "num_proc", "num_workers", "processes", "threads", "workers")
_OTHERWISE = {
    **dict.fromkeys(_WORKERS, _ON_ALL_CORES),
    "client": "calls use the client that was created last, or with client.as_current(): …",
    "dtype": "mode= sets the pixels' type; .img.to_numpy(dtype=…) converts it",
    "normalize": "it is an argument of .img.to_numpy(): scale=, mean=, std=",
    "batch_size": "the methods batches and map_batches have it",
}
"""Names of arguments that have another place here than in other libraries, and that place."""

_WORDS = {
    "root": "base_path data_dir dir directory folder image_dir img_dir path",
    "suffix": "ext extension",
    "size": "dim height image_size img_size new_size resize shape target_size width",
    "fit": "aspect_ratio crop crop_to_aspect_ratio keep_aspect keep_aspect_ratio pad resize_mode",
    "resample": "filter interpolation",
    "mode": "channels color color_mode colorspace convert",
    "errors": "ignore_errors on_error raise_errors skip_errors",
    "out": "cache cache_file output output_path save_to",
    "to": "folder out out_dir output output_dir save_to",
    "progress": "progress_bar show_progress tqdm verbose",
    "npartitions": "chunks chunksize num_partitions",
}
"""Names of parameters, and words of other libraries for the same, which no similarity of letters finds."""


def delegates(
    *to: tuple[Callable[..., object], Iterable[str]], absent: Mapping[str, str] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator for functions that pass their ``**options`` on to others.

    The signature shows these options with their defaults; any other is a TypeError.

    Parameters
    ----------
    *to : tuple of (callable, iterable of str)
        Function, and the names of its parameters that are passed on.
    absent : dict of str to str, optional
        Reasons why the function has no arguments of these names.

    Examples
    --------
    >>> def paint(size, *, color="red", width=1): ...
    >>> @delegates((paint, ["color", "width"]))
    ... def circle(radius, **options):
    ...     return paint(2 * radius, **options)
    >>> inspect.signature(circle)
    <Signature (radius, *, color='red', width=1)>
    >>> circle(1, colr="blue")
    Traceback (most recent call last):
    TypeError: circle() has no argument 'colr'; did you mean 'color'?
    """
    delegated = [_with_choices(function, name) for function, names in to for name in names]
    delegated.sort(key=lambda item: _FIRST.index(item.name) if item.name in _FIRST else len(_FIRST))

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)
        explicit = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
        full = signature.replace(parameters=[*explicit, *delegated])

        @functools.wraps(method)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in full.parameters:
                    legal = [known for known in full.parameters if known != "self"]
                    reason = (absent or {}).get(name) or _hint(name, legal)
                    raise TypeError(f"{method.__name__}() has no argument {name!r}; {reason}")
            return method(*args, **kwargs)

        wrapper.__signature__ = full  # type: ignore[attr-defined]
        return wrapper

    return decorate


def find_synonyms(name: str, legal: Iterable[str]) -> list[str]:
    """Return the parameters that another library calls by this name.

    Examples
    --------
    >>> find_synonyms("folder", ["mode", "root"])
    ['root']
    """
    return [known for known in legal if name in _WORDS.get(known, "").split()]


def _hint(name: str, legal: list[str]) -> str:
    """Return a hint for a name that is no parameter."""
    return _OTHERWISE.get(name) or did_you_mean(name, legal, _WORDS)


def _with_choices(function: Callable[..., object], name: str) -> inspect.Parameter:
    """Return a parameter of a function, whose legal values are in its annotation if that names a Literal."""
    parameter = inspect.signature(function).parameters[name]
    names = [part.strip() for part in str(parameter.annotation).split("|")]
    values = [getattr(sys.modules[function.__module__], part, None) for part in names]
    choices = [value if get_origin(value) is Literal else part for value, part in zip(values, names, strict=True)]
    texts = [str(choice).replace("typing.", "") for choice in choices]
    return parameter.replace(annotation=" | ".join(texts)) if texts != names else parameter
