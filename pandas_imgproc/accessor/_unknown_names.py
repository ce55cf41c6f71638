"""Hints for names that the accessors lack: a method that is called otherwise here than in other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandas_imgproc.errors import did_you_mean

_WORDS = {
    "load_resized": "imread load open read resize to_array to_numpy to_tensor",
    "to_numpy": "array numpy to_array to_tensor",
    "map": "apply transform",
    "map_batches": "embed embeddings encode predict",
    "save_thumbnails": "thumbnail thumbnails",
    "features": "describe stats",
    "metadata": "exif info size sizes",
    "show": "display grid montage plot",
    "verify": "check is_valid validate",
    "duplicate_groups": "drop_duplicates duplicated duplicates",
}
"""Methods, and words of other libraries for the same, which no similarity of letters finds."""


class UnknownNameHints:
    """Mixin of an accessor whose AttributeError names the method that was meant."""

    if not TYPE_CHECKING:  # else checkers would accept all names

        def __getattr__(self, name: str) -> object:
            known = [item for item in dir(type(self)) if not item.startswith("_")]
            if name.startswith("_") or name in known:  # of a known one: the error that its property raised
                return object.__getattribute__(self, name)
            raise AttributeError(f".img has no method {name!r}; {did_you_mean(name, known, _WORDS)}")
