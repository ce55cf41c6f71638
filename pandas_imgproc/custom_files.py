"""Files of formats that functions of the user read: the bytes, and the function that makes an image of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ReaderKey = str | tuple[int, bytes]
"""Suffix of a file's name, in lower case, or a signature: its offset and its bytes."""

Readers = tuple[tuple[ReaderKey, Callable[..., Any]], ...]


@dataclass(frozen=True, slots=True)
class CustomFile:
    """File that a function of the user reads, which the codec takes in place of the bytes.

    Attributes
    ----------
    data : bytes
        The whole file.
    read : callable
        Function of the number of a frame that returns ndarray of uint8 or uint16, shape (height, width, channels).
    """

    data: bytes
    read: Callable[[int], Any]


def find_reader(readers: Readers, path: str, data: bytes) -> Callable[..., Any] | None:
    r"""Return the function that reads a file, by its name or its first bytes; None if there is none.

    Examples
    --------
    >>> find_reader(((".dcm", len), ((0, b"\x89HDF"), max)), "scan.DCM", b"")
    <built-in function len>
    """
    name = path.partition("?")[0].lower()
    for key, function in readers:
        if name.endswith(key) if isinstance(key, str) else data.startswith(key[1], key[0]):
            return function
    return None
