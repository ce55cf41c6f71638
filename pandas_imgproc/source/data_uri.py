"""Data URIs, which hold an image themselves: ``data:image/png;base64,iVBORw0KGgo…``."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypeGuard
from urllib.parse import unquote_to_bytes

import pandas as pd

from pandas_imgproc.errors import UnreadableImageError

_DATA_URI = re.compile(r"data:[^,/]{0,100}/[^,]{0,200},|data:(;[^,]{0,200})?,", re.IGNORECASE)


def holds_data_uris(column: pd.Series[Any]) -> bool:
    """Return whether the first text of a column is a data URI: a check of all would take too long."""
    if not (column.dtype == object or isinstance(column.dtype, pd.StringDtype)):
        return False
    return is_data_uri(next((value for value in column if type(value) is str), None))


def is_data_uri(value: object) -> TypeGuard[str]:
    """Return whether a value is a data URI; `value` may be of any type.

    Examples
    --------
    >>> is_data_uri("data:image/png;base64,iVBORw0KGgo="), is_data_uri("data/a.png"), is_data_uri(None)
    (True, False, False)
    """
    return type(value) is str and value[:5].lower() == "data:" and _DATA_URI.match(value) is not None


def decode_data_uri(uri: str) -> bytes:
    r"""Return the bytes in a data URI.

    Raises
    ------
    UnreadableImageError
        Of kind "invalid_path", if its base64 is damaged.

    Examples
    --------
    >>> decode_data_uri("data:image/png;base64,iVBORw0KGgo="), decode_data_uri("data:,a%20b")
    (b'\x89PNG\r\n\x1a\n', b'a b')
    """
    header, _, body = uri.partition(",")
    data = unquote_to_bytes(body)
    if not header.lower().rstrip().endswith(";base64"):
        return data
    digits = b"".join(data.split()).rstrip(b"=")
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise UnreadableImageError("invalid_path", f"the base64 of its data: URI is damaged: {exc}") from exc
