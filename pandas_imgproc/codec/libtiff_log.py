"""Messages of libtiff and of Pillow's TIFF plugin, which are printed to the standard error stream, in the log."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

from PIL import _imaging

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("pandas_imgproc")

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
"""Error handler of libtiff: a module, a format and its arguments, a ``va_list``."""

_MAX_BYTES = 300
_PILLOW_NAME = b"tempfile.tif"  # of every file

_thread = threading.local()


@contextlib.contextmanager
def log_libtiff_messages() -> Iterator[None]:
    """Log the messages of libtiff in this thread at level INFO, until the context ends, and those of Pillow's plugin.

    Without a configuration of logging, Python prints the errors that the plugin logs, beside the failure of the row.
    libtiff has one error handler per process. It is set once, and hands the messages of other threads and of the
    user's own code to the handler before it.

    Examples
    --------
    >>> with log_libtiff_messages():
    ...     pass
    """
    _install()
    before, _thread.active = getattr(_thread, "active", False), True
    try:
        yield
    finally:
        _thread.active = before


def take_libtiff_message() -> str:
    """Return the last message of libtiff in this thread since the last call, empty if there is none.

    Examples
    --------
    >>> take_libtiff_message()
    ''
    """
    message: str = getattr(_thread, "message", "")
    _thread.message = ""
    return message


def _relog(record: logging.LogRecord) -> bool:
    """Log an error of Pillow's plugin at level INFO; return whether its own logger handles it instead."""
    if not getattr(_thread, "active", False):
        return True
    logger.info("Pillow: %s", record.getMessage())
    return False


logging.getLogger("PIL.TiffImagePlugin").addFilter(_relog)


@functools.cache
def _install() -> Any:
    """Set the error handler of the libtiff that Pillow is linked with; return the handler, which must stay alive."""
    try:
        # A symbol is looked up in the library and in those that it needs, so the name of libtiff's file is not needed.
        library = ctypes.CDLL(_imaging.__file__)
        set_handler, format_message = library.TIFFSetErrorHandler, ctypes.CDLL(None).vsnprintf
    except (OSError, AttributeError, TypeError):  # Pillow without libtiff, or linked in another way: they are printed
        return None
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    format_message.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    previous: list[Any] = []

    def handle(module: bytes | None, template: bytes | None, arguments: int | None) -> None:
        if not getattr(_thread, "active", False):
            for handler in previous:
                handler(module, template, arguments)
            return
        buffer = ctypes.create_string_buffer(_MAX_BYTES)
        format_message(buffer, _MAX_BYTES, template, arguments)
        name = f"{module.decode(errors='replace')[:_MAX_BYTES]}: " if module and module != _PILLOW_NAME else ""
        _thread.message = f"libtiff: {name}{buffer.value.decode(errors='replace')}"
        logger.info("%s", _thread.message)

    handler = _HANDLER(handle)
    address = set_handler(ctypes.cast(handler, ctypes.c_void_p))
    if address:
        previous.append(_HANDLER(address))
    return handler
