"""URIs of local files (RFC 8089) as paths."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

_FILE_URI = re.compile(r"file:(?=/)(?://(?:localhost(?=/))?)?(?P<path>.*)", re.IGNORECASE | re.DOTALL)


def to_user_path(path: str | os.PathLike[str]) -> str:
    """Return a path argument as text: the path of a ``file:`` URI, with the home folder in place of ``~``.

    Examples
    --------
    >>> to_user_path("file:///data/my%20photos")
    '/data/my photos'
    """
    return os.path.expanduser(to_local_path(os.fspath(path)))


def to_local_path(text: str, folder: str = "") -> str:
    """Return the path of a ``file:`` URI, and any other text as it is.

    Parameters
    ----------
    text : str
        Path, URL or URI: ``file:///a%20b.jpg``, ``file://localhost/a.jpg`` or ``file:/a.jpg``. Many programs put the
        scheme before a path and encode nothing: where there is no file of the decoded name, but one of the literal
        name, the literal one is meant.
    folder : str
        Start of a relative path, as in ``file://photos/a.jpg``.

    Examples
    --------
    >>> to_local_path("file:///data/my%20photos/a.jpg"), to_local_path("my%20photos/a.jpg")
    ('/data/my photos/a.jpg', 'my%20photos/a.jpg')
    """
    match = _FILE_URI.fullmatch(text)
    if match is None:
        return text
    literal = match["path"]
    decoded = os.fsdecode(unquote_to_bytes(literal.encode("utf-8", "surrogateescape")))
    if decoded != literal and not _exists(folder, decoded) and _exists(folder, literal):
        return literal
    return decoded


def _exists(folder: str, path: str) -> bool:
    try:
        return os.path.lexists(os.path.join(folder, path))
    except ValueError:  # a NUL character
        return False
