"""Holes of zero bytes in the data of a JPEG file, most of which libjpeg decodes without a warning.

A lost block of a disk or an unfinished download leaves zeros. They are a valid Huffman code, and the decoder often
finds its way back behind them, with another image.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOLE = bytes(32)
# Not a marker in the data of a scan: a stuffed 0xFF, a restart, a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_DHT, _EOI, _SOS = 0xC4, 0xD9, 0xDA
_AC = 1

Tables = dict[tuple[int, int], int]


def has_hole(data: bytes) -> bool:
    """Return whether a scan of a JPEG file has a run of zero bytes that no encoder writes.

    Parameters
    ----------
    data : bytes

    Notes
    -----
    In a run of zeros one symbol of each Huffman table repeats, the one whose code is all zeros. If that of the
    coefficients is a value, then all coefficients of a block are the same negative number, and those of the next,
    which no image has. If it is the end of a block, then the run may be a flat area, and passes.

    Examples
    --------
    >>> data = (getfixture("photos") / "blue.jpg").read_bytes()
    >>> has_hole(data + bytes(1000)), has_hole(data[:-2] + bytes(1000) + data[-2:])
    (False, True)
    """
    if _HOLE not in data:
        return False
    for header, tables, start, end in _scans(data):
        if _is_value_all_zeros(header, tables) and data.find(_HOLE, start, end) >= 0:
            return True
    return False


def _scans(data: bytes) -> Iterator[tuple[bytes, Tables, int, int]]:
    """Yield the header of each scan, the all-zero symbol of each Huffman table, and the bounds of its data."""
    tables: Tables = {}
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != _EOI:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        position += 2 + length if marker != 0xFF else 1
        if marker == _DHT:
            tables.update(_zero_symbols(segment))
        elif marker == _SOS:
            following = _MARKER.search(data, position)
            end = following.start() if following else len(data)
            yield segment, tables, position, end
            position = end


def _zero_symbols(segment: bytes) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield (class, number) of each Huffman table of a segment, and its first symbol, whose code is all zeros."""
    while len(segment) > 17:
        yield (segment[0] >> 4, segment[0] & 15), segment[17]
        segment = segment[17 + sum(segment[1:17]) :]


def _is_value_all_zeros(header: bytes, tables: Tables) -> bool:
    """Return whether zeros are values of coefficients in a scan: not a refinement, nor one of DC alone."""
    n = header[0] if header else 0
    if len(header) < 4 + 2 * n or header[2 + 2 * n] == 0 or header[3 + 2 * n] >> 4:
        return False
    return any(tables.get((_AC, header[2 + 2 * k] & 15), 0) & 15 for k in range(n))
