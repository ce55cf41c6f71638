"""Text layout for Pillow's built-in font: one line of ASCII, ellipsis, word wrap."""
# ruff: noqa: RUF001  characters that the font lacks

from __future__ import annotations

import bisect
import functools
import unicodedata
from typing import TYPE_CHECKING

from PIL import ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import ImageDraw

# Pillow's font has little more than ASCII. Accents are removed by decomposition; these characters do not decompose.
ASCII_FALLBACKS = dict(zip(map(ord, "×–—‘’“”·ß"), ["x", "-", "-", "'", "'", '"', '"', "-", "ss"], strict=True))


@functools.cache
def get_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's built-in font of a size in pixels."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> float:
    """Return the width of a text in pixels."""
    return get_font(size).getlength(text)


def draw_text(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, size: int, color: str, width: float
) -> None:
    """Draw a text in one line, with an ellipsis where it exceeds the width."""
    draw.text(xy, _ellipsize(ascii_line(text), size, width), color, get_font(size))


def ascii_line(text: object) -> str:
    """Return a text in one line of characters that the font has, at most a thousand."""
    folded = unicodedata.normalize("NFKD", str(text)[:1000]).translate(ASCII_FALLBACKS)
    printable = "".join(char if char.isprintable() else " " for char in folded if not unicodedata.combining(char))
    return " ".join(printable.split())


def wrap(text: str, size: int, width: float, max_lines: int) -> list[str]:
    """Return a text as at most `max_lines` lines; the last one ends in an ellipsis where text is left over."""
    words = list(_split_words(ascii_line(text), size, width))
    lines: list[str] = []
    while words and len(lines) < max_lines - 1:
        line = words.pop(0)
        while words and text_width(f"{line} {words[0]}", size) <= width:
            line = f"{line} {words.pop(0)}"
        lines.append(line)
    return [*lines, _ellipsize(" ".join(words), size, width)] if words and max_lines else lines


def _ellipsize(text: str, size: int, width: float) -> str:
    if text_width(text, size) <= width:
        return text
    n = bisect.bisect_right(range(len(text)), width, key=lambda n: text_width(f"{text[:n]}…", size))
    return f"{text[: max(0, n - 1)].rstrip()}…"


def _split_words(text: str, size: int, width: float) -> Iterator[str]:
    """Yield words, and chunks of a word that exceeds the width, such as a path."""
    for word in text.split():
        chunk = ""
        for char in word:
            if chunk and text_width(chunk + char, size) > width:
                yield chunk
                chunk = ""
            chunk += char
        yield chunk
