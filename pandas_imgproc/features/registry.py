"""Measures by name: what each reads, what it gives, and the decorator that adds one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import cloudpickle
import numpy as np

from pandas_imgproc import _pickling
from pandas_imgproc.errors import did_you_mean

InputKind = Literal["header", "pixels", "grey", "full_grey", "full", "bytes"]
"""What a measure is a function of.

``header``     a `codec.Header`: nothing is decoded
``bytes``      the encoded file; None for an image that is in memory already
``pixels``     the image at the working size: ndarray of uint8, shape (height, width, 3), RGB
``grey``       the same in grey levels (ITU-R 601 luma, as Pillow's "L"): ndarray of uint8, shape (height, width)
``full``       the whole upright image: ndarray of uint8, shape (height, width, 3), RGB
``full_grey``  the same in grey levels: ndarray of uint8, shape (height, width)
"""

DEFAULT_INPUTS: tuple[InputKind, ...] = ("header", "pixels", "grey")
"""What those measures read that are computed unless names are given: a hash costs as much as all of them together, and
no model learns from it."""

DTYPES: dict[str, str] = {
    "float64": "f8",
    "Int64": "i8",
    "UInt64": "u8",
    "boolean": "?",
    "datetime64[s]": "M8[s]",
    "string": "S",
    "category": "S",
}
"""The dtypes that a measure's column can have, and how a value is stored."""

_ALIASES = {
    "float": "float64",
    "Float64": "float64",
    "int": "Int64",
    "int64": "Int64",
    "uint64": "UInt64",
    "bool": "boolean",
    "str": "string",
}

Function = TypeVar("Function", bound=Callable[[Any], Any])


@dataclass(frozen=True)
class FeatureSpec:
    """One function and the columns that it fills.

    Attributes
    ----------
    names : tuple of str
        One column for a function that returns a value, several for one that returns a tuple.
    function : callable
        Of one array, or of a header.
    input : str
        See `InputKind`.
    dtype : str
        See `DTYPES`.
    max_bytes : int
        Bytes that are kept of a text, in UTF-8.
    builtin : bool
        Whether it is the library's own, and not the user's.
    """

    names: tuple[str, ...]
    function: Callable[[Any], Any]
    input: InputKind
    dtype: str
    max_bytes: int
    builtin: bool

    @property
    def storage_dtype(self) -> np.dtype[Any]:
        """How a value is stored until it is a column."""
        kind = DTYPES[self.dtype]
        return np.dtype(f"S{self.max_bytes}" if kind == "S" else kind)

    @property
    def needs_decode(self) -> bool:
        """Whether the image must be decoded for it."""
        return self.input not in ("header", "bytes")

    def __reduce__(self) -> Any:
        fields = (self.names, self.input, self.dtype, self.max_bytes, self.builtin)
        if self.builtin:
            return _restored, (self.function, *fields)
        with _by_value(self.function):
            return _unpickled, (_pickling.dumps(self.function), *fields)


@contextlib.contextmanager
def _by_value(function: Any) -> Any:
    """Let a function travel with all that its module holds of it: a worker elsewhere has no such module."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if module is None or module.__name__ in {"__main__", *cloudpickle.list_registry_pickle_by_value()}:
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _restored(function: Any, names: Any, kind: Any, dtype: str, max_bytes: int, own: bool) -> FeatureSpec:
    return FeatureSpec(names, function, kind, dtype, max_bytes, own)


def _unpickled(function: bytes, *fields: Any) -> FeatureSpec:
    return _restored(cloudpickle.loads(function), *fields)


_known: dict[str, FeatureSpec] = {}


def register_feature(
    *names: str,
    dtype: str = "float64",
    input: InputKind = "pixels",  # noqa: A002  the field's word
    max_bytes: int = 64,
) -> Callable[[Function], Function]:
    """Add a measure: a function of one image becomes a column of `features`.

    Parameters
    ----------
    *names : str
        The columns: one for a function that returns a value, several for one that returns as many.
    dtype : {"float64", "Int64", "UInt64", "boolean", "string", "category", "datetime64[s]"}
        Of the columns. What the function returns as None (or NaN) is a missing value.
    input : {"pixels", "grey", "full", "full_grey", "bytes", "header"}
        What the function is given. ``"pixels"``: the image at the working size, upright and on white, as ndarray
        of uint8, shape (height, width, 3); ``"grey"``: its grey levels, shape (height, width); ``"full"`` and
        ``"full_grey"``: the same of the whole image; ``"bytes"``: the encoded file; ``"header"``: an object with
        the attributes of `codec.Header`. With neither of the first four alone is anything decoded.
    max_bytes : int
        Bytes (UTF-8) that are kept of a text.

    Returns
    -------
    callable
        The decorator; it returns the function as it is.

    Raises
    ------
    TypeError, ValueError
        If a name is taken by a measure of the library, or an argument is wrong.

    Notes
    -----
    The function runs in processes of its own, where it travels by value. What it raises costs the row, as a failure
    of kind ``function``.

    Examples
    --------
    >>> import pandas_imgproc
    >>> @pandas_imgproc.register_feature("redness")
    ... def redness(pixels):
    ...     return float((pixels[..., 0] > 200).mean())
    >>> pd.Series(["red.png"]).img.features("redness", root=getfixture("photos"))
       redness
    0      1.0
    >>> pandas_imgproc.unregister_feature("redness")
    """
    dtype = _ALIASES.get(dtype, dtype)
    _check(names, dtype, input, max_bytes)

    def add(function: Function) -> Function:
        if not callable(function):
            raise TypeError(f"register_feature({names[0]!r}) decorates a function, got {function!r}")
        _add(FeatureSpec(tuple(names), function, input, dtype, max_bytes, builtin=False))
        return function

    return add


def _check(names: tuple[Any, ...], dtype: Any, kind: Any, max_bytes: Any) -> None:
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"register_feature(*names) wants names of columns, such as measure('redness'), got {names!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"register_feature(*names) names a column twice: {names!r}")
    taken = [name for name in names if name in _known and _known[name].builtin]
    if taken:
        raise ValueError(f"register_feature({taken[0]!r}) is the name of a measure of the library; choose another")
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(map(repr, DTYPES))}")
    if kind not in get_args(InputKind):
        raise ValueError(f"input={kind!r} is not one of {', '.join(map(repr, get_args(InputKind)))}")
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes!r} is not a number of bytes from 1 up")


def _add(measured: FeatureSpec) -> None:
    for name in measured.names:
        unregister_feature(name)
    _known.update(dict.fromkeys(measured.names, measured))


def unregister_feature(name: str) -> None:
    """Forget a measure that was added, with all of its columns; one that is not known is no error.

    Raises
    ------
    ValueError
        If it is a measure of the library.
    """
    known = _known.get(name)
    if known is not None and known.builtin:
        raise ValueError(f"{name!r} is a measure of the library")
    for other in known.names if known else ():
        del _known[other]


def _builtin_feature(
    *names: str,
    dtype: str = "float64",
    input: InputKind = "pixels",  # noqa: A002  the field's word
    max_bytes: int = 64,
) -> Callable[[Function], Function]:
    """Add a measure of the library (see `register_feature`)."""

    def add(function: Function) -> Function:
        known = FeatureSpec(names, function, input, dtype, max_bytes, builtin=True)
        _known.update(dict.fromkeys(names, known))
        return function

    return add


def feature_names(*inputs: InputKind) -> tuple[str, ...]:
    """Return the names of all measures, or of those that read one of these; the user's come last.

    Examples
    --------
    >>> "width" in feature_names("header"), "width" in feature_names("pixels")
    (True, False)
    """
    order = get_args(InputKind)
    found = [name for name, known in _known.items() if not inputs or known.input in inputs]
    return tuple(sorted(found, key=lambda name: (not _known[name].builtin, order.index(_known[name].input))))


def select_features(include: Any) -> tuple[tuple[str, ...], tuple[FeatureSpec, ...]]:
    """Return the names that are asked for, in their order, and the measures that give them, each once.

    Parameters
    ----------
    include : str, iterable of str, or None
        None asks for all but the library's hashes.

    Raises
    ------
    TypeError, ValueError
        If it is no list of names, names none, one twice, or one that is not known.
    """
    names = _names(include)
    wrong = [name for name in names if name not in _known]
    if wrong:
        raise ValueError(f"include names {wrong[0]!r}, which is no measure; {did_you_mean(wrong[0], _known)}")
    return names, tuple(dict.fromkeys(_known[name] for name in names))


def _names(include: Any) -> tuple[str, ...]:
    if include is None:
        return tuple(
            name for name in feature_names() if not _known[name].builtin or _known[name].input in DEFAULT_INPUTS
        )
    if isinstance(include, str):
        return (include,)
    names = tuple(include) if isinstance(include, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise TypeError(f"include={include!r:.200} is not a list of names of measures, such as ['brightness', 'blur']")
    if not names:
        raise ValueError("include=[] names no measure; None asks for all but hashes")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"include names {twice!r} twice")
    return names
