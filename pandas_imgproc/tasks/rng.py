"""Random numbers that depend on the row and the variant alone, not on who draws them or when."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

# The generators of `random`, `numpy.random` and torch belong to the process, and threads share them.
_lock = threading.RLock()


def isolate_dask_rng() -> None:
    """Give Dask a generator of its own in this process: the one of `random` is seeded for a user's function.

    Dask draws from it, to guess sizes and to choose workers, in a thread that no lock of ours can stop.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith(("dask.", "distributed.", "tornado.")) and getattr(module, "random", None) is random:
            vars(module)["random"] = _apart()


@functools.cache
def _apart() -> ModuleType:
    """Return the module `random` with another generator behind it."""
    module, own = ModuleType("random"), random.Random()
    shared = getattr(random.random, "__self__", None)
    for name, value in vars(random).items():
        drawing = shared is not None and getattr(value, "__self__", None) is shared
        vars(module)[name] = getattr(own, name) if drawing else value
    return module


@contextlib.contextmanager
def seeded(transform: Any, *key: int) -> Iterator[np.random.Generator]:
    """Seed all that a transform may draw from, and put the states back.

    Parameters
    ----------
    transform : callable
        If it has ``set_random_seed``, that is called.
    *key : int
        What the numbers depend on: seed, position of the row, variant.

    Yields
    ------
    numpy.random.Generator
        For functions that ask for one.

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
    with _lock, _states_put_back():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  what transforms draw from
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.manual_seed(seed)
        if hasattr(transform, "set_random_seed"):
            transform.set_random_seed(seed)
        yield np.random.default_rng(sequence)


@contextlib.contextmanager
def _states_put_back() -> Iterator[None]:
    torch = sys.modules.get("torch")
    plain, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    state = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpy)  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(state)
