"""Pillow's globals belong to the user: carry them to where the pixels are made, and put them back."""

from __future__ import annotations

import contextlib
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from PIL import Image, ImageFile

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class PillowSettings:
    """The user's own Pillow globals, as a value that travels to the workers.

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
        """Return what holds in this process now.

        Examples
        --------
        >>> PillowSettings.current().load_truncated_images
        False
        """
        return cls(Image.MAX_IMAGE_PIXELS, bool(ImageFile.LOAD_TRUNCATED_IMAGES))

    def apply(self) -> None:
        """Set Pillow's globals of this process."""
        if self != PillowSettings.current():
            Image.MAX_IMAGE_PIXELS = self.max_image_pixels
            ImageFile.LOAD_TRUNCATED_IMAGES = self.load_truncated_images


class _Session:
    """Who works with which settings now; `warnings.catch_warnings` is not for threads on Python 3.11."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.active: list[tuple[object, PillowSettings]] = []
        self.before: PillowSettings | None = None
        self.quiet: tuple[Any, ...] | None = None

    def enter(self, settings: PillowSettings) -> object:
        token = object()
        with self.lock:
            if not self.active:
                self.before = PillowSettings.current()
            if self.quiet is None or self.quiet not in warnings.filters:
                # The comment in the pattern makes the filter ours: an equal one of the user's would be moved.
                warnings.filterwarnings("ignore", module=r"PIL\.(?#pandas_imgproc)")
                self.quiet = cast("tuple[Any, ...]", warnings.filters[0])
            self.active.append((token, settings))
            settings.apply()
        return token

    def leave(self, token: object) -> None:
        with self.lock:
            ours = self.active[-1][1]
            self.active = [entry for entry in self.active if entry[0] is not token]
            following = self.active[-1][1] if self.active else self.before
            # What somebody else has set in the meantime is theirs.
            if following is not None and PillowSettings.current() == ours:
                following.apply()
            if not self.active and self.quiet in warnings.filters:
                cast("list[Any]", warnings.filters).remove(self.quiet)


_session = _Session()


@contextlib.contextmanager
def pillow_settings(settings: PillowSettings) -> Iterator[None]:
    """Decode as the caller's process would, without Pillow's warnings.

    Threads may enter and leave in any order; the last one puts everything back. With several settings at a
    time the youngest holds, since Pillow has one set per process.

    Parameters
    ----------
    settings : PillowSettings
        Of the process in which the call was made.

    Examples
    --------
    >>> with pillow_settings(PillowSettings(1000, False)):
    ...     Image.MAX_IMAGE_PIXELS
    1000
    >>> Image.MAX_IMAGE_PIXELS
    89478485
    """
    token = _session.enter(settings)
    try:
        yield
    finally:
        _session.leave(token)
