"""A word of the shell becomes the value of an argument, by the argument's annotation."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable

NOTHING = "none"
"""The word for None, where that is something to ask for."""


def reader(parameter: inspect.Parameter) -> Callable[[str], Any] | None:
    """Return what turns a word into the value of a parameter; None for one that is on or off.

    Raises
    ------
    KeyError
        If its annotation is of a kind that no word can say.

    Examples
    --------
    >>> import inspect
    >>> def method(size: int | tuple[int, int] | None = 64): ...
    >>> read = reader(inspect.signature(method).parameters["size"])
    >>> read("600"), read("640x480"), read("none")
    (600, (640, 480), None)
    """
    kinds = set(str(parameter.annotation).split(" | "))
    can_be_none = "None" in kinds and parameter.default is not None
    read = _READERS[frozenset(kinds - {"None"})]
    return _or_none(read) if can_be_none and read is not None else read


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text.lower() == NOTHING else read(text)


def _size(text: str) -> Any:
    match = re.fullmatch(r"(\d+)(?:\s*[x×,]\s*(\d+))?", text)  # noqa: RUF001  people paste it
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of pixels (64) nor width x height (640x480)")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _options(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        # Not the text: it may hold a secret.
        raise argparse.ArgumentTypeError("what is given is not JSON, such as '{\"anon\": true}'") from None


# By annotation, as it is written in the methods' signatures. On or off has no value.
_READERS: dict[frozenset[str], Callable[[str], Any] | None] = {
    frozenset(kinds): read
    for read, *annotations in (
        (None, {"bool"}),
        (str, {"str"}, {"Errors"}, {"Retry"}, {"str", "os.PathLike[str]"}, {"str", "tuple[int, ...]"}),
        (_whole, {"int"}),
        (_number, {"float"}),
        (_size, {"int", "tuple[int, int]"}),
        (_names, {"Sequence[str]"}, {"str", "Iterable[str]"}, {"Any"}),
        (_options, {"Mapping[str, Any]"}),
    )
    for kinds in annotations
}
