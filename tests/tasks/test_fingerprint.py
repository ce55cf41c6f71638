"""Fingerprints: of functions, and of tasks as journals and manifests on disk hold them."""

from __future__ import annotations

import functools
import random
import threading

import numpy as np
import pytest
from dask.tokenize import tokenize

from pandas_imgproc import tasks
from pandas_imgproc.codec import decode_options, encode_options
from pandas_imgproc.features import select_features
from pandas_imgproc.tasks.fingerprint import function_fingerprint

DECODE = decode_options(size=(8, 6))
ENCODE = encode_options(format="PNG", quality=75)
DECODE_KEYS = [
    "size", "mode", "fit", "resample", "reducing_gap", "background", "exif_transpose", "scale_depth", "frame",
    "max_pixels", "limits", "formats", "plugins", "strict", "engine", "color_profile",
]  # fmt: skip
AUGMENT_KEYS = ["method", "transform", "n", "recipe", "seed", "keep_original", "shape"]


def noisy(pixels, rng):
    return pixels + rng.normal(0, 1, pixels.shape)


def darker(pixels):
    return pixels - random.randrange(3)


TASKS = [
    (tasks.LoadResized(DECODE), ["method", "recipe"]),
    (tasks.Download(), ["method"]),
    (tasks.SaveResized(DECODE, ENCODE), ["method", "recipe", "encoding"]),
    (tasks.Verify(DECODE), ["method", "recipe"]),
    (tasks.Thumbnail(DECODE), ["method", "recipe", "has_full_size"]),
    (tasks.Map(darker, DECODE), ["method", "func", "recipe", "dtype", "promised"]),
    (tasks.Augment(noisy, 3, DECODE), AUGMENT_KEYS),
    (tasks.SaveAugmented(tasks.Augment(noisy, 3, DECODE), ENCODE), ["method", "variants", "encoding"]),
    (
        tasks.Measure("features", *select_features(["width", "blur"])[:1], DECODE, 256, ()),
        ["method", "names", "recipe", "size", "functions"],
    ),
]


@pytest.mark.parametrize(("task", "keys"), TASKS, ids=[type(task).__name__ for task, _ in TASKS])
def test_task_fingerprint_has_keys_of_journals_on_disk(task, keys):
    """A renamed field must not change them, or no job on disk can be resumed."""
    values = task.fingerprint()
    assert list(values) == keys
    assert list(values.get("recipe", DECODE_KEYS)) == DECODE_KEYS
    assert list(values.get("encoding", ["format", "quality"])) == ["format", "quality"]
    assert list(values.get("variants", AUGMENT_KEYS)) == AUGMENT_KEYS


def test_task_fingerprint_has_method_names():
    assert [task.fingerprint()["method"] for task, _ in TASKS] == [
        "load_resized", "download", "save_resized", "verify", "show", "map", "augment", "augment", "features"
    ]  # fmt: skip


def test_function_fingerprint_depends_on_code_and_closure():
    factor = 2
    first = function_fingerprint(lambda pixels: pixels * factor)
    factor = 3
    assert function_fingerprint(lambda pixels: pixels * factor) != first
    assert function_fingerprint(noisy) != function_fingerprint(darker)
    assert "0x" not in function_fingerprint(threading.Lock())


def test_class_fingerprint_depends_on_methods():
    def embedder(factor):
        class Embedder:
            def __call__(self, images):
                return images * factor

        return Embedder

    assert function_fingerprint(embedder(2)) == function_fingerprint(embedder(2))
    assert function_fingerprint(embedder(2)) != function_fingerprint(embedder(3))


def test_cached_function_has_fingerprint_of_its_code():
    first, second, third = (functools.lru_cache(f) for f in (lambda: 1, lambda: 1, lambda: 2))
    assert function_fingerprint(first) == function_fingerprint(second) != function_fingerprint(third)


@pytest.mark.parametrize("make", [lambda k: bytes(9999) + bytes([k]), lambda k: np.r_[np.zeros((9999, 2)), [[k, k]]]])
def test_large_argument_has_a_short_fingerprint_of_its_values(make):
    first, second, third = (function_fingerprint(functools.partial(darker, make(k))) for k in (1, 1, 2))
    assert first == second != third
    assert len(first) < 200


def test_function_fingerprint_ignores_file_name():
    one, other = (eval(compile("lambda pixels: 1", name, "eval")) for name in ("one.py", "other.py"))
    assert function_fingerprint(one) == function_fingerprint(other)
    assert tokenize(tasks.Map(one, DECODE)) == tokenize(tasks.Map(other, DECODE))
