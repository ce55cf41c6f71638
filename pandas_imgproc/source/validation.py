"""How files are found, checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pandas_imgproc.source import paths
from pandas_imgproc.source.redaction import StorageOptions, protocol_family
from pandas_imgproc.source.source import Source


def make_source(
    *, root: object = None, suffix: object = None, storage_options: object = None, schemes: object = ()
) -> Source:
    """Return how files are found.

    Raises
    ------
    ValueError, TypeError
        Names the argument, and what it may be; never a value of `storage_options`.
    """
    options, more = StorageOptions(_check_options(storage_options)), _check_schemes(schemes)
    source = Source(_check_root(root), _check_suffix(suffix), _working_directory(), options, Source.schemes | more)
    source.resolver  # noqa: B018  it raises where the root is none
    return source


def _check_root(root: object) -> str | None:
    if root is None:
        return None
    if not isinstance(root, str | os.PathLike):
        raise TypeError(f"root={root!r} is not a folder; give a path such as 'train'")
    return os.fspath(root)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed: relative paths are missing, absolute ones are not
        return ""


def _check_suffix(suffix: object) -> str | None:
    if suffix is None or isinstance(suffix, str):
        return suffix
    raise TypeError(f"suffix={suffix!r} is not a text such as '.jpg'")


def _check_options(storage_options: object) -> Mapping[str, Any]:
    if storage_options is None:
        return {}
    if not isinstance(storage_options, Mapping) or not all(isinstance(name, str) for name in storage_options):
        kind = type(storage_options).__name__  # never the value: it may be a secret
        raise TypeError(f"storage_options= is of type {kind}; give a dict of names and values for the file system")
    return storage_options


def _check_schemes(schemes: object) -> frozenset[str]:
    if isinstance(schemes, str) or not isinstance(schemes, Iterable):
        raise TypeError(f"schemes={schemes!r} is not a list of schemes such as ['sftp']")
    found = list(schemes)
    if not all(isinstance(scheme, str) and scheme and ":" not in scheme for scheme in found):
        raise ValueError(f"schemes={schemes!r} is not a list of schemes such as ['sftp']; each without ://")
    return frozenset(scheme.lower() for scheme in found)


def used_protocols(inputs: Sequence[Any]) -> set[str]:
    """Return the schemes of the URLs in a column, those of files of this machine not."""
    found = set()
    for cell in inputs:
        if not isinstance(cell, str) and isinstance(cell, Mapping):
            cell = cell.get("path") if cell.get("bytes") is None else None
        if isinstance(cell, str) and "://" in cell:
            found.add(paths.scheme_of(cell))
    return {scheme for scheme in found if scheme not in (None, "file")}


def check(source: Source, inputs: Sequence[Any]) -> None:
    """Raise before anything starts if a call cannot be what was meant.

    Raises
    ------
    MissingExtraError
        If what reads a scheme is not installed.
    ValueError
        If the root is none, or `storage_options` could be for several schemes.
    """
    used = used_protocols(inputs) if source.is_local else {paths.scheme_of(source.root or "") or ""}
    used = {scheme for scheme in used if set(scheme.split("::")) <= source.schemes}
    if not used:
        return
    from pandas_imgproc.source.filesystems import check_installed

    for scheme in sorted(used):
        check_installed(scheme)
    kinds = sorted({protocol_family(scheme) for scheme in used})
    if source.options.is_unscoped and len(kinds) > 1:
        raise ValueError(
            f"storage_options= could be for {' or '.join(kinds)}: say for which, as in {{{kinds[0]!r}: {{…}}}}"
        )
