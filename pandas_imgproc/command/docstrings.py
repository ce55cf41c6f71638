"""What a method's numpydoc docstring says of its parameters, for the help of its options."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_SECTION = re.compile(r"^(\w[\w ]*)\n-+\n", re.MULTILINE)
_ENTRY = re.compile(r"^(\S[^\n:]*?)(?: : ([^\n]*))?\n((?:(?: +[^\n]*)?\n)*)", re.MULTILINE)
_AS_IN = re.compile(r"As in `(\w+)`[.;]?\s*")


class Said(NamedTuple):
    """What is said of one parameter."""

    type: str
    text: str


def summary(function: Callable[..., Any]) -> str:
    """Return the first line of a function's docstring; empty where Python has dropped it (``-OO``)."""
    return _plain((inspect.getdoc(function) or "").partition("\n")[0])


def parameters(name: str, functions: Mapping[str, Callable[..., Any]]) -> dict[str, Said]:
    """Return what a function's docstring says of each parameter, with what it says by "As in `load_resized`" in full.

    Parameters
    ----------
    name : str
        Of the function.
    functions : mapping of str to callable
        Those that a docstring may refer to.

    Examples
    --------
    >>> def tile(side, mode): '''
    ...     Parameters
    ...     ----------
    ...     side : int
    ...         In ``pixels``.
    ...     mode : str
    ...         Of Pillow.
    ...     '''
    >>> def sheet(mode): '''
    ...     Parameters
    ...     ----------
    ...     mode
    ...         As in `tile`. Or none.
    ...     '''
    >>> parameters("sheet", {"tile": tile, "sheet": sheet})
    {'mode': Said(type='str', text='Of Pillow. Or none.')}
    """
    section = _SECTION.split((inspect.getdoc(functions[name]) or "") + "\n")
    entries = dict(zip(section[1::2], section[2::2], strict=True)).get("Parameters", "")
    found = {}
    for names, kind, text in _ENTRY.findall(entries):
        for parameter in names.split(", "):
            found[parameter] = _resolved(parameter, Said(kind, _plain(text)), functions)
    return found


def _resolved(parameter: str, said: Said, functions: Mapping[str, Callable[..., Any]]) -> Said:
    other = _AS_IN.match(said.text)
    if other is None or other[1] not in functions:
        return said
    there = parameters(other[1], functions).get(parameter)
    if there is None:
        return said
    return Said(said.type or there.type, f"{there.text} {said.text[other.end() :]}".strip())


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "").split())
