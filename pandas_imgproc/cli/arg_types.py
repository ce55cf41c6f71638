"""Option types: the type hint of a method's parameter as a type that cyclopts reads from one word of the shell."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pandas_imgproc.failures import Errors
from pandas_imgproc.sinks import Retry

if TYPE_CHECKING:
    import inspect
    from collections.abc import Sequence

    from cyclopts import Token

NONE_WORD = "none"
"""The word for None, where None differs from the default."""


def type_names(parameter: inspect.Parameter) -> list[str]:
    """Return the names of the types that a parameter may have; one of several texts is a text, unless it has a name."""
    known = {str(value).removeprefix("typing."): name for name, value in (("Errors", Errors), ("Retry", Retry))}
    return [
        known.get(name, "str") if name.startswith("Literal[") else name for name in parameter.annotation.split(" | ")
    ]


def type_for(parameter: inspect.Parameter) -> Any:
    """Return the type of the option for a parameter; raise StopIteration if no word can express its type hint."""
    members = type_names(parameter)
    parse, metavar = next(_TYPES[hint] for hint in _TYPES if hint in members)
    if metavar is None:
        return parse | None if "None" in members or parameter.default is None else parse

    def convert(_: Any, tokens: Sequence[Token]) -> Any:
        text = tokens[0].value
        return None if takes_none(parameter) and text.lower() == NONE_WORD else parse(text)

    # Any: cyclopts has pydantic, where that is loaded, check converted values and defaults against the hint.
    return Annotated[Any, Parameter(converter=convert, metavar=metavar)]


def takes_none(parameter: inspect.Parameter) -> bool:
    """Return whether None is a value of a parameter, and not its default."""
    return "None" in type_names(parameter) and parameter.default is not None


def parse_size(text: str) -> int | tuple[int, int]:
    """Return the size that a word gives: a number of pixels, or width and height.

    Examples
    --------
    >>> parse_size("600"), parse_size("640x480")
    (600, (640, 480))
    """
    match = re.fullmatch(r"(\d+)(?:\s*[x×,]\s*(\d+))?", text)  # noqa: RUF001  people paste it
    if match is None:
        raise ValueError(f"{text!r} is neither a number of pixels (64) nor width x height (640x480)")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def parse_int(text: str) -> int:
    """Return the whole number that a word gives; cyclopts' own type rounds 1.5."""
    try:
        return int(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not a whole number") from exc


def parse_names(text: str) -> list[str]:
    """Return the names in a word, which are separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. An error does not show the text, which may hold a secret."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise ValueError("the value is not JSON, such as '{\"anon\": true}'") from None


def parse_frame(text: str) -> int | str:
    """Return the number of a frame, or the name of a column.

    Examples
    --------
    >>> parse_frame("3"), parse_frame("page")
    (3, 'page')
    """
    return int(text) if re.fullmatch(r"\d+", text) else text


def parse_box(text: str) -> list[str] | str:
    """Return the names of four columns, or of one.

    Examples
    --------
    >>> parse_box("x,y,w,h"), parse_box("bbox")
    (['x', 'y', 'w', 'h'], 'bbox')
    """
    names = parse_names(text)
    return names[0] if len(names) == 1 else names


_TYPES: dict[str, tuple[Any, str | None]] = {
    "bool": (bool, None),
    "tuple[int, int]": (parse_size, "N|WxH"),
    "float": (float, None),
    "Sequence[str]": (parse_names, "A,B"),
    "Iterable[str]": (parse_names, "A,B"),
    "Any": (parse_names, "A,B"),
    "ColumnLike": (str, "NAME"),
    "BoxLike": (parse_box, "X,Y,W,H"),
    "FrameLike": (parse_frame, "N|NAME"),
    "Mapping[str, Any]": (parse_json, "JSON"),
    "Errors": (Errors, None),
    "Retry": (Retry, None),
    "os.PathLike[str]": (str, "PATH"),
    "str": (str, "TEXT"),
    "int": (parse_int, "N"),
}
"""Parser and placeholder by a member of the type hint, or a type that cyclopts reads itself. The first that is in a
union reads all of its values."""
