"""Names of the hidden files that this package writes beside results, which no result may have."""

from __future__ import annotations

import re

PREFIX = ".pandas-imgproc"

MANIFEST = f"{PREFIX}.jsonl"
"""Manifest of a folder; in a bucket it is a folder of objects."""

MANIFEST_FOLDER = PREFIX

# File systems that ignore case take another spelling for the same name.
_OWN = re.compile(rf"{re.escape(PREFIX)}.*|\..+\.(?:unpacked|tar|parquet)\.jsonl", re.IGNORECASE | re.DOTALL)


def lease_name(key: int) -> str:
    """Return the name of the lease of a call."""
    return f"{PREFIX}-{key:08x}.lease"


def is_own_name(name: str) -> bool:
    """Return whether a name is of a manifest, of a lease, or of the journal of shards or of an unpacked archive.

    Examples
    --------
    >>> is_own_name(".pandas-imgproc.jsonl"), is_own_name(".train-shard.tar.jsonl"), is_own_name("train.jsonl")
    (True, True, False)
    """
    return name.startswith(".") and _OWN.fullmatch(name) is not None
