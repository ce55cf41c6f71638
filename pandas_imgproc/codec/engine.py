"""Engines of decoding and resizing: Pillow alone, or the SIMD packages where they apply and Pillow for all else."""

from __future__ import annotations

import importlib
import socket
import sys
from typing import TYPE_CHECKING, Any

from pandas_imgproc._validation import check_choice
from pandas_imgproc.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

ENGINES = ("auto", "simd", "pillow")
_PACKAGES = {"cykooz_resizer": "cykooz-resizer", "simplejpeg": "simplejpeg"}


def import_package(module: str, needed_by: str) -> ModuleType:
    """Return a module whose package a platform without a wheel lacks; raise a MissingExtraError if it is missing.

    Examples
    --------
    >>> import_package("simplejpeg", "strict=True").__name__
    'simplejpeg'
    """
    try:
        return importlib.import_module(module)
    except (ImportError, ValueError) as exc:  # ValueError: a build for another NumPy
        package = _PACKAGES[module]
        message = f"{needed_by} needs {package}, which cannot be imported ({exc}): pip install {package}"
        raise MissingExtraError(message) from exc


def resolve_engine(engine: Any, reducing_gap: Any) -> str:
    """Return the engine of a call, "simd" or "pillow", which travels with its options.

    Parameters
    ----------
    engine : {"auto", "simd", "pillow"}
        "auto" is "simd" if its packages are installed here, in the caller.
    reducing_gap : float or None
        None is exact, byte for byte Pillow's.

    Raises
    ------
    ValueError
        If the engine is unknown, or "simd" is to be byte for byte Pillow's.
    MissingExtraError
        If the engine is "simd" and a package is missing.

    Examples
    --------
    >>> resolve_engine("auto", 2.0), resolve_engine("auto", None)
    ('simd', 'pillow')
    """
    engine = check_choice("engine", engine, ENGINES)
    if engine == "simd" and reducing_gap is None:
        raise ValueError(
            "engine='simd' rounds differently from Pillow, and reducing_gap=None asks for Pillow's bytes: give one of "
            "the two; engine='simd' is as exact without it"
        )
    if engine == "pillow" or reducing_gap is None:
        return "pillow"
    try:
        _import_packages("engine='simd'")
    except MissingExtraError:
        if engine == "simd":
            raise
        return "pillow"
    return "simd"


def require_engine(engine: str, *, strict: bool) -> None:
    """Raise a MissingExtraError if this process lacks the packages that the caller has for an engine and `strict`.

    A worker that used Pillow instead would mix two roundings in one result, and one that is not strict two rules.
    """
    where = f"on host {socket.gethostname()!r} with {sys.executable},"
    if engine == "simd":
        _import_packages(f"the caller's engine='simd', {where}", "there as in the caller, or pass engine='pillow'")
    elif strict:
        _import_packages(f"the caller's strict=True, {where}", "there as in the caller", ("simplejpeg",))


def _import_packages(needed_by: str, advice: str = "", modules: Iterable[str] = tuple(_PACKAGES)) -> None:
    for module in modules:
        try:
            import_package(module, needed_by)
        except MissingExtraError as exc:
            raise MissingExtraError(f"{exc} {advice}".rstrip()) from exc.__cause__
