"""Registry of the features: names, inputs and dtypes, and the decorator that adds one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import cloudpickle
import numpy as np

from pandas_imgproc import _pickling
from pandas_imgproc._validation import check_choice, check_int
from pandas_imgproc.errors import did_you_mean

InputKind = Literal["header", "pixels", "grey", "full_grey", "full", "bytes"]
"""Input of a feature's function.

``header``     a `codec.Header`, without decoding
``bytes``      the encoded file; None for an image in memory
``pixels``     the image at the working size: ndarray of uint8, shape (height, width, 3), RGB
``grey``       the same in gray levels (ITU-R 601 luma, as Pillow's "L"): ndarray of uint8, shape (height, width)
``full``       the upright image at its original size: ndarray of uint8, shape (height, width, 3), RGB
``full_grey``  the same in gray levels: ndarray of uint8, shape (height, width)
"""

DEFAULT_INPUTS: tuple[InputKind, ...] = ("header", "pixels", "grey")
"""Inputs of the built-in features that are computed by default: one hash costs as much as all of them together, and no
model learns from it."""

DEFAULT_DTYPES = ("float64", "Int64", "UInt64", "boolean")
"""Dtypes of the features that are computed by default: a model takes no texts and no times."""

SOMETIMES_MISSING = frozenset({"hue", "file_size", "bytes_per_pixel"})
"""Numeric features that an intact image can lack: a gray one has no hue, one in memory has no file. They are no
default, because a column without any value is an error of some models."""

DTYPES: dict[str, str] = {
    "float64": "f8",
    "Int64": "i8",
    "UInt64": "u8",
    "boolean": "?",
    "datetime64[s]": "M8[s]",
    "string": "S",
    "category": "S",
}
"""Legal dtypes of a feature's column, with the NumPy dtype that stores its values."""

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
    """Function of an image, and the columns that it fills.

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
        Maximum length of a text in UTF-8; longer ones are truncated.
    builtin : bool
        Whether the feature is the library's, and not the user's.
    """

    names: tuple[str, ...]
    function: Callable[[Any], Any]
    input: InputKind
    dtype: str
    max_bytes: int
    builtin: bool

    @property
    def storage_dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the stored values, before their conversion to a column."""
        kind = DTYPES[self.dtype]
        return np.dtype(f"S{self.max_bytes}" if kind == "S" else kind)

    @property
    def needs_decode(self) -> bool:
        """Whether the image must be decoded."""
        return self.input not in ("header", "bytes")

    def __reduce__(self) -> Any:
        fields = vars(self)
        if self.builtin:
            return FeatureSpec, tuple(fields.values())
        with _by_value(self.function):
            return _unpickle, (fields | {"function": _pickling.dumps(self.function)},)


@contextlib.contextmanager
def _by_value(function: Any) -> Any:
    """Pickle the module of a function by value within the context: a remote worker has no such module."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if module is None or module.__name__ in {"__main__", *cloudpickle.list_registry_pickle_by_value()}:
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _unpickle(fields: dict[str, Any]) -> FeatureSpec:
    return FeatureSpec(**fields | {"function": cloudpickle.loads(fields["function"])})


_registry: dict[str, FeatureSpec] = {}


def register_feature(
    *names: str,
    dtype: str = "float64",
    input: InputKind = "pixels",  # noqa: A002  the field's word
    max_bytes: int = 64,
) -> Callable[[Function], Function]:
    """Register a function of one image as a column of `features`.

    Parameters
    ----------
    *names : str
        The columns: one for a function that returns a value, several for one that returns as many.
    dtype : {"float64", "Int64", "UInt64", "boolean", "string", "category", "datetime64[s]"}
        Of the columns. A return value of None (or NaN) is a missing value.
    input : {"pixels", "grey", "full", "full_grey", "bytes", "header"}
        Argument of the function. ``"pixels"``: the image at the working size, upright and on white, as ndarray
        of uint8, shape (height, width, 3); ``"grey"``: its gray levels, shape (height, width); ``"full"`` and
        ``"full_grey"``: the same at the original size; ``"bytes"``: the encoded file; ``"header"``: an object with
        the attributes of `codec.Header`. Only the first four require decoding.
    max_bytes : int
        Maximum length of a text in bytes of UTF-8; longer ones are truncated.

    Returns
    -------
    callable
        The decorator; it returns the function unchanged.

    Raises
    ------
    TypeError, ValueError
        If a name is that of a built-in feature, or an argument is wrong.

    Notes
    -----
    The function runs in worker processes, to which it is pickled by value. An exception costs the row, as a failure
    of kind ``function``.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> import pandas_imgproc
    >>> @pandas_imgproc.register_feature("redness")
    ... def redness(pixels):
    ...     return float((pixels[..., 0] > 200).mean())
    >>> pd.Series(["red.png"]).img.features("redness")
       redness
    0      1.0
    >>> pandas_imgproc.unregister_feature("redness")
    """
    dtype = check_choice("dtype", _ALIASES.get(dtype, dtype), DTYPES)
    check_choice("input", input, get_args(InputKind))
    max_bytes = check_int("max_bytes", max_bytes)
    _check_names(names)

    def add(function: Function) -> Function:
        if not callable(function):
            raise TypeError(f"register_feature({names[0]!r}) decorates a function, got {function!r}")
        for name in names:
            unregister_feature(name)
        _registry.update(dict.fromkeys(names, FeatureSpec(names, function, input, dtype, max_bytes, builtin=False)))
        return function

    return add


def _check_names(names: tuple[Any, ...]) -> None:
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError(
            f"register_feature(*names) wants names of columns, such as register_feature('redness'), got {names!r}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"register_feature(*names) names a column twice: {names!r}")
    if set(names) & {"all"}:
        raise ValueError("register_feature('all') is the word for all features; choose another name")
    builtin = [name for name in names if name in _registry and _registry[name].builtin]
    if builtin:
        raise ValueError(f"register_feature({builtin[0]!r}) is the name of a built-in feature; choose another")


def unregister_feature(name: str) -> None:
    """Remove a registered feature, with all of its columns; an unknown name is ignored.

    Raises
    ------
    ValueError
        If the feature is built in.
    """
    spec = _registry.get(name)
    if spec is not None and spec.builtin:
        raise ValueError(f"{name!r} is a built-in feature")
    for column in spec.names if spec else ():
        del _registry[column]


def _builtin_feature(
    *names: str,
    dtype: str = "float64",
    input: InputKind = "pixels",  # noqa: A002  the field's word
    max_bytes: int = 64,
) -> Callable[[Function], Function]:
    """Register a built-in feature (see `register_feature`)."""

    def add(function: Function) -> Function:
        _registry.update(dict.fromkeys(names, FeatureSpec(names, function, input, dtype, max_bytes, builtin=True)))
        return function

    return add


def feature_names(*inputs: InputKind) -> tuple[str, ...]:
    """Return the names of all features, or of those with one of these inputs; the user's come last.

    Examples
    --------
    >>> "width" in feature_names("header"), "width" in feature_names("pixels")
    (True, False)
    """
    order = get_args(InputKind)
    names = [name for name, spec in _registry.items() if not inputs or spec.input in inputs]
    return tuple(sorted(names, key=lambda name: (not _registry[name].builtin, order.index(_registry[name].input))))


def default_features() -> tuple[str, ...]:
    """Return the names of the columns of `features` by default, which a model takes as they are.

    Examples
    --------
    >>> "width" in default_features(), "camera" in default_features(), "hue" in default_features()
    (True, False, False)
    """
    return tuple(name for name in feature_names() if _is_default(name, _registry[name]))


def _is_default(name: str, spec: FeatureSpec) -> bool:
    if spec.dtype not in DEFAULT_DTYPES:
        return False
    return not spec.builtin or (spec.input in DEFAULT_INPUTS and name not in SOMETIMES_MISSING)


def select_features(include: Any) -> tuple[tuple[str, ...], tuple[FeatureSpec, ...]]:
    """Return the requested names in their order, and the features that compute them, each once.

    Parameters
    ----------
    include : str, iterable of str, or None
        None requests the default columns (see `default_features`), "all" all of them.

    Raises
    ------
    TypeError, ValueError
        If it is not a list of names, is empty, or has a name twice or one that is not known.
    """
    names = _requested_names(include)
    unknown = [name for name in names if name not in _registry]
    if unknown:
        raise ValueError(f"include names {unknown[0]!r}, which is not a feature; {did_you_mean(unknown[0], _registry)}")
    return names, tuple(dict.fromkeys(_registry[name] for name in names))


def _requested_names(include: Any) -> tuple[str, ...]:
    if include is None:
        return default_features()
    if isinstance(include, str):
        return feature_names() if include == "all" else (include,)
    names = tuple(include) if isinstance(include, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise TypeError(f"include={include!r:.200} is not a list of names of features, such as ['brightness', 'blur']")
    if not names:
        raise ValueError("include=[] names no feature; None requests the default columns, 'all' all")
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"include names {duplicate!r} twice")
    return names
