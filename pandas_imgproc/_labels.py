"""Labels of rows and columns as JSON, and back: for ``attrs``, which pandas writes as JSON, and for files."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# For each class that JSON lacks: its conversion to JSON, and the one back. Subclasses come before their bases.
_CLASSES: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    type(pd.NaT): (lambda _: None, lambda _: pd.NaT),
    type(pd.NA): (lambda _: None, lambda _: pd.NA),
    pd.Timestamp: (pd.Timestamp.isoformat, pd.Timestamp),
    pd.Timedelta: (pd.Timedelta.isoformat, pd.Timedelta),
    datetime.timedelta: (lambda t: [t.days, t.seconds, t.microseconds], lambda v: datetime.timedelta(*v)),
    pd.Period: (lambda p: [p.ordinal, p.freqstr], lambda v: pd.Period(ordinal=int(v[0]), freq=str(v[1]))),
    pd.Interval: (
        lambda i: [label_to_json(i.left), label_to_json(i.right), i.closed],
        lambda v: pd.Interval(label_from_json(v[0]), label_from_json(v[1]), v[2]),
    ),
    bytes: (lambda data: data.decode("latin-1"), lambda text: text.encode("latin-1")),
    complex: (str, complex),
    datetime.datetime: (datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    datetime.date: (datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: (datetime.time.isoformat, datetime.time.fromisoformat),
    decimal.Decimal: (str, decimal.Decimal),
    uuid.UUID: (str, uuid.UUID),
}
_DECODERS = {cls.__name__: decode for cls, (_, decode) in _CLASSES.items()}


def label_to_json(label: Any) -> Any:
    """Return a label as a value that JSON has: itself, a tuple of labels, or its class and text.

    A label of a class that is not known becomes its text.

    Examples
    --------
    >>> label_to_json(("a", np.int64(1))), label_to_json(pd.Timestamp("2026-01-02"))
    (('a', 1), {'Timestamp': '2026-01-02T00:00:00'})
    """
    value = label.item() if isinstance(label, np.generic) and not isinstance(label, np.datetime64) else label
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, tuple):
        return tuple(map(label_to_json, value))
    for cls, (encode, _) in _CLASSES.items():
        if isinstance(value, cls):
            return {cls.__name__: encode(value)}
    return str(value)


def label_from_json(value: Any) -> Any:
    """Return the label of which `label_to_json` returned the value.

    Examples
    --------
    >>> label_from_json(label_to_json((b"a", 1j, None)))
    (b'a', 1j, None)
    """
    if isinstance(value, list | tuple):
        return tuple(map(label_from_json, value))
    if isinstance(value, dict):
        ((name, encoded),) = value.items()
        return _DECODERS[name](encoded)
    return value


def to_index(labels: Sequence[Any], like: pd.Index[Any]) -> pd.Index[Any]:
    """Return labels as an index with the names of another one, and with its dtype if that can hold them.

    Examples
    --------
    >>> to_index([1, 3], pd.Index([1, 2, 3], dtype="int8", name="id")).dtype
    dtype('int8')
    >>> to_index(["a"], pd.RangeIndex(2)).tolist()
    ['a']
    """
    if not labels:
        return like[:0]
    if isinstance(like, pd.MultiIndex):
        return _to_multi_index(labels, like)
    dtypes: list[Any] = [like.dtype, None, object]
    for dtype in dtypes:
        try:
            index: pd.Index[Any] = pd.Index(labels, dtype=dtype, name=like.name, tupleize_cols=dtype is None)
        except (ValueError, TypeError, OverflowError, NotImplementedError):  # another index's dtype
            continue
        if len(index) == len(labels) and all(map(is_same_label, index, labels)):
            return index
    return index


def _to_multi_index(labels: Sequence[Any], like: pd.MultiIndex) -> pd.Index[Any]:
    """Return labels as an index with the levels of another one, which keep their dtypes beside missing values."""
    if not all(isinstance(label, tuple) and len(label) == like.nlevels for label in labels):
        return to_index(labels, pd.RangeIndex(0))
    levels: Any = list(like.levels)
    codes: Any = [[_code(level, label[k]) for label in labels] for k, level in enumerate(like.levels)]
    if None in {code for level_codes in codes for code in level_codes}:
        return pd.MultiIndex.from_arrays(
            [to_index([label[k] for label in labels], level) for k, level in enumerate(like.levels)], names=like.names
        )
    return pd.MultiIndex(levels=levels, codes=codes, names=like.names)


def _code(level: pd.Index[Any], label: Any) -> int | None:
    """Return the position of a label in a level: -1 if it is missing, None if it is another label."""
    if pd.api.types.is_scalar(label) and pd.isna(label):
        return -1
    try:
        found = level.get_loc(label)
    except (KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, int) else None


def is_same_label(a: Any, b: Any) -> bool:
    """Return whether two labels are equal, or both missing.

    Examples
    --------
    >>> is_same_label(None, np.nan), is_same_label(("a", 1), ["a", 1]), is_same_label("a", b"a")
    (True, False, False)
    """
    if pd.api.types.is_scalar(a) and pd.api.types.is_scalar(b) and pd.isna(a) and pd.isna(b):
        return True
    return bool(type(a) is type(b) or not isinstance(a, str | tuple)) and bool(np.all(a == b))


def full_label(name: str, columns: pd.Index[Any]) -> Any:
    """Return the label of a new column of a name: of all levels of a MultiIndex, as pandas demands.

    Examples
    --------
    >>> full_label("x", pd.Index(["y"])), full_label("x", pd.MultiIndex.from_tuples([("train", "y")]))
    ('x', ('x', ''))
    """
    return name if columns.nlevels == 1 else (name, *[""] * (columns.nlevels - 1))
