"""Random numbers seeded by row and variant, so that they do not depend on process, thread or order."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import threading
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

# The generators of `random`, `numpy.random` and torch belong to the process, and threads share them. A transform that
# runs a call itself waits for the threads of that call: these take turns with each other, by another lock, not with it.
_lock: ContextVar[threading.Lock] = ContextVar("lock of the generators", default=threading.Lock())  # noqa: B039


def isolate_dask_rng() -> None:
    """Replace the `random` module inside Dask's modules by a copy with its own generator.

    `random` is seeded for each transform, and Dask draws from it in other threads, to choose workers: without a copy
    the seeds would steer Dask's scheduling, and its draws would change the transform's numbers.
    """
    for name, module in sys.modules.copy().items():  # other threads import
        if name.startswith(("dask.", "distributed.", "tornado.")) and getattr(module, "random", None) is random:
            vars(module)["random"] = _separate_random_module()


@functools.cache
def _separate_random_module() -> ModuleType:
    """Return a copy of the module `random` with its own generator."""
    module, generator = ModuleType("random"), random.Random()
    shared = getattr(random.random, "__self__", None)
    for name, value in vars(random).items():
        draws = shared is not None and getattr(value, "__self__", None) is shared
        vars(module)[name] = getattr(generator, name) if draws else value
    return module


@contextlib.contextmanager
def seeded(transform: Any, *key: int) -> Iterator[np.random.Generator]:
    """Seed every generator that a transform may draw from, and restore their states at the end.

    Parameters
    ----------
    transform : callable
        Its ``set_random_seed`` is called if it has one.
    *key : int
        Seed of the call, position of the row in the frame, number of the variant.

    Yields
    ------
    numpy.random.Generator
        For functions with a parameter ``rng``.

    Examples
    --------
    >>> with seeded(None, 0, 7, 1):
    ...     first = random.random()
    >>> with seeded(None, 0, 7, 1):
    ...     random.random() == first
    True
    """
    sequence = np.random.SeedSequence(key)
    seed = int(sequence.generate_state(1)[0])
    with _generators(), _restore_rng_state():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  transforms draw from it
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.manual_seed(seed)
        if hasattr(transform, "set_random_seed"):
            transform.set_random_seed(seed)
        yield np.random.default_rng(sequence)


@contextlib.contextmanager
def _generators() -> Iterator[None]:
    """Let no other thread seed the generators, except one of a call that the block runs."""
    with _lock.get():
        token = _lock.set(threading.Lock())
        try:
            yield
        finally:
            _lock.reset(token)


@contextlib.contextmanager
def _restore_rng_state() -> Iterator[None]:
    torch = sys.modules.get("torch")
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch_state = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(torch_state)
