"""Texts of bounded length: the values, exceptions and messages that are quoted to users may be of any length."""

from __future__ import annotations

import itertools
from typing import Any

INTERRUPTS = (KeyboardInterrupt,)
"""Exceptions that stop the call. All others fail one row, also those outside of `Exception`: panics of Rust code are
outside, and a worker that lets a `GeneratorExit` through never returns a result."""

MAX_MESSAGE_CHARS = 300
"""Limit of a message about one row."""

MAX_PATH_CHARS = 500
"""Limit of a path in a table of failures; that of a message is `MAX_QUOTED_CHARS`."""

MAX_QUOTED_CHARS = 200
"""Limit of a path or a label within a message."""


def truncate(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Return a text of at most `max_chars` characters, whose end is replaced by an ellipsis.

    Examples
    --------
    >>> truncate("a" * 10, 4)
    'aaa…'
    """
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"


def truncate_path(path: str, max_chars: int = MAX_PATH_CHARS) -> str:
    """Return a path of at most `max_chars` characters: of a longer one the beginning and the end.

    Examples
    --------
    >>> truncate_path("/data/" + "x" * 100 + "/a.jpg", 20)
    '/data/xxx…xxx/a.jpg'
    """
    half = (max_chars - 1) // 2
    return path if len(path) <= max_chars else f"{path[:half]}…{path[-half:]}"


def shorten(value: Any, max_chars: int = 100) -> str:
    """Return the repr of a value, at most a hundred characters long; that of its type if its own raises.

    Examples
    --------
    >>> shorten(b"0123456789", 8)
    "b'01234…"
    """
    try:
        text = repr(_take(value, max_chars))
    except INTERRUPTS:
        raise
    except BaseException:
        text = f"<{type(value).__name__}>"
    return truncate(text, max_chars)


def _take(value: Any, n: int) -> Any:
    """Return the first items of a value whose whole repr would be built in vain."""
    if type(value) in (str, bytes, bytearray, list, tuple):
        return value[: n + 1]
    if type(value) in (dict, set, frozenset) and len(value) > n:
        items = itertools.islice(value.items() if type(value) is dict else value, n)
        return type(value)(items)
    return value


def describe_exit(exitcode: int | None) -> str:
    """Return the end of a process as text.

    Examples
    --------
    >>> describe_exit(3), describe_exit(-9)
    ('exit code 3', 'signal 9')
    """
    return f"signal {-exitcode}" if exitcode is not None and exitcode < 0 else f"exit code {exitcode}"


def format_exception(exc: BaseException, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Return the type and the message of an exception as one text; its type alone if its text cannot be read.

    Examples
    --------
    >>> format_exception(ValueError("no such size"))
    'ValueError: no such size'
    """
    module, name = type(exc).__module__, type(exc).__qualname__
    name = name if module in ("builtins", "__main__") else f"{module}.{name}"  # as Python shows it
    text = exception_text(exc, max_chars)
    return truncate(f"{name}: {text}" if text else name, max_chars)


def exception_text(exc: BaseException, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Return the message of an exception, empty if it cannot be read."""
    try:
        return truncate(str(exc), max_chars)
    except INTERRUPTS:
        raise
    except BaseException:
        return ""
