"""Pillow's global settings: the caller's values are applied where images are decoded, and restored afterwards."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from PIL import Image, ImageFile

from pandas_imgproc.codec.libtiff_log import log_libtiff_messages

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class PillowSettings:
    """Pillow's global settings as a value, sent from the caller to the workers.

    Parameters
    ----------
    max_image_pixels : int or None
        ``PIL.Image.MAX_IMAGE_PIXELS``.
    load_truncated_images : bool
        ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES``.
    """

    max_image_pixels: int | None
    load_truncated_images: bool

    @classmethod
    def current(cls) -> PillowSettings:
        """Return the settings of this process.

        Examples
        --------
        >>> PillowSettings.current().load_truncated_images
        False
        """
        return cls(Image.MAX_IMAGE_PIXELS, bool(ImageFile.LOAD_TRUNCATED_IMAGES))

    def apply(self) -> None:
        """Set Pillow's globals in this process."""
        if self != PillowSettings.current():
            Image.MAX_IMAGE_PIXELS = self.max_image_pixels
            ImageFile.LOAD_TRUNCATED_IMAGES = self.load_truncated_images


class _SettingsStack:
    """Stack of the settings in use by the threads of this process; the newest apply.

    `warnings.catch_warnings` is not safe in threads on Python 3.11, hence one filter for all of them.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: list[tuple[object, PillowSettings]] = []
        self.original: PillowSettings | None = None
        self.filter: tuple[Any, ...] | None = None

    def push(self, settings: PillowSettings) -> object:
        token = object()
        with self.lock:
            if not self.entries:
                self.original = PillowSettings.current()
            if self.filter is None or self.filter not in warnings.filters:
                # The comment in the pattern makes the filter unique: an equal one of the user's would be moved.
                warnings.filterwarnings("ignore", module=r"PIL\.(?#pandas_imgproc)")
                self.filter = cast("tuple[Any, ...]", warnings.filters[0])
            self.entries.append((token, settings))
            settings.apply()
        return token

    def remove(self, token: object) -> None:
        with self.lock:
            applied = self.entries[-1][1]
            self.entries = [entry for entry in self.entries if entry[0] is not token]
            following = self.entries[-1][1] if self.entries else self.original
            # Values that the user has set in the meantime stay.
            if following is not None and PillowSettings.current() == applied:
                following.apply()
            if not self.entries and self.filter in warnings.filters:
                cast("list[Any]", warnings.filters).remove(self.filter)


_stack = _SettingsStack()


def _reset_after_fork() -> None:
    """Begin with no settings in use in a forked child: the threads that use some, or hold the lock, are the parent's.

    A loader of a training loop forks its processes while threads decode.
    """
    if _stack.original is not None and _stack.entries and PillowSettings.current() == _stack.entries[-1][1]:
        _stack.original.apply()
    _stack.lock, _stack.entries = threading.Lock(), []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


_FUNCTIONS = {
    (module, name): value for module in (Image, ImageFile) for name, value in vars(module).items() if callable(value)
}


def restore_functions() -> None:
    """Restore functions of Pillow that a user's function has replaced by a value that cannot be called, or deleted.

    Replacements that can be called are the user's own.
    """
    for (module, name), value in _FUNCTIONS.items():
        if not callable(vars(module).get(name)):
            setattr(module, name, value)


@contextlib.contextmanager
def pillow_settings(settings: PillowSettings) -> Iterator[None]:
    """Apply settings to Pillow, silence its warnings and log libtiff's messages, until the context ends.

    Threads may enter and leave in any order; the last one restores the original values. Of several settings
    the newest apply, since Pillow has one set per process.

    Parameters
    ----------
    settings : PillowSettings
        Settings of the caller's process.

    Examples
    --------
    >>> with pillow_settings(PillowSettings(1000, False)):
    ...     Image.MAX_IMAGE_PIXELS
    1000
    >>> Image.MAX_IMAGE_PIXELS
    89478485
    """
    token = _stack.push(settings)
    try:
        with log_libtiff_messages():
            yield
    finally:
        _stack.remove(token)
