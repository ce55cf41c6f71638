"""Sources: every value of a column is bytes or a failure with a reason; never a hang, never a file outside of root."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandas_imgproc.errors import FAILURE_KINDS, UnreadableImageError
from pandas_imgproc.partition import PartitionInput
from pandas_imgproc.source import MAX_FILE_BYTES, Source, column_values


def kind_of(value, **source):
    with pytest.raises(UnreadableImageError) as caught:
        Source(**source).data(value)
    return caught.value.kind


def test_data_reads_paths_bytes_and_structs(tmp_path):
    (tmp_path / "a b#?%é.jpg").write_bytes(b"xyz")
    path = str(tmp_path / "a b#?%é.jpg")
    for value in (path, b"xyz", bytearray(b"xyz"), {"bytes": b"xyz", "path": None}, {"bytes": None, "path": path}):
        assert Source().data(value)[0] == b"xyz"
    assert Source().data("file://" + path)[0] == b"xyz"


def test_column_values_empty_struct_is_missing():
    values = column_values(pd.Series([{"bytes": None, "path": None}, {"path": "a.jpg"}]))
    assert values == [None, {"bytes": None, "path": "a.jpg"}]


def test_id_with_root_and_suffix_is_read(tmp_path):
    (tmp_path / "17.jpg").write_bytes(b"xyz")
    assert Source(root=str(tmp_path), suffix=".jpg").data(17)[0] == b"xyz"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("gone.jpg", "missing"),
        ("gone/gone.jpg", "missing"),
        ("", "invalid_path"),
        ("  ", "invalid_path"),
        ("a\0b.jpg", "invalid_path"),
        ("\ud800.jpg", "invalid_path"),
        ("x" * 5000, "invalid_path"),
        (7, "invalid_path"),
        (7.5, "invalid_path"),
        (["a.jpg"], "invalid_path"),
        (object(), "invalid_path"),
        (b"", "empty"),
        ({"bytes": None, "path": None}, "invalid_path"),
        ("/", "not_a_file"),
        ("/dev/zero", "not_a_file"),
        ("ftp://host/a.jpg", "unsupported"),
    ],
)
def test_invalid_value_has_failure_kind(value, kind):
    assert kind_of(value) == kind


def test_special_file_fails_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert kind_of(str(tmp_path / "pipe")) == "not_a_file"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert kind_of(str(tmp_path / "socket")) == "not_a_file"
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert kind_of(str(tmp_path / "sparse.jpg")) == "too_large"
    (tmp_path / "empty.jpg").touch()
    assert kind_of(str(tmp_path / "empty.jpg")) == "empty"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert kind_of(str(tmp_path / "loop")) == "invalid_path"
    assert kind_of(str(tmp_path / "empty.jpg" / "a.jpg")) == "missing"


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="a file that claims to have no bytes")
def test_file_that_has_more_bytes_than_it_claims_is_read_up_to_the_limit(monkeypatch):
    assert Source().data("/proc/self/maps")[0].endswith(b"\n")
    monkeypatch.setattr("pandas_imgproc.source.local.MAX_FILE_BYTES", 100)
    assert kind_of("/proc/self/maps") == "too_large"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file_is_permission_failure(tmp_path):
    (tmp_path / "secret.jpg").touch(mode=stat.S_IWUSR)
    assert kind_of(str(tmp_path / "secret.jpg")) == "permission"


def test_local_name_outside_root_is_rejected(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "in.jpg").write_bytes(b"in")
    (tmp_path / "rooted.jpg").write_bytes(b"out")
    (root / "link.jpg").symlink_to(tmp_path / "rooted.jpg")
    (root / "fine.jpg").symlink_to(root / "in.jpg")
    source = Source(root=str(root))
    for name in ("in.jpg", "sub/../in.jpg", "fine.jpg", str(root / "in.jpg")):
        assert source.data(name)[0] == b"in"
    for name in ("../rooted.jpg", "sub/../../rooted.jpg", "link.jpg", str(tmp_path / "rooted.jpg"), "/etc/passwd",
                 "file:///etc/passwd", "..", "."):  # fmt: skip
        assert kind_of(name, root=str(root)) == "outside_root", name


def test_sibling_of_root_with_same_prefix_is_rejected(tmp_path):
    for name in ("a", "ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(name.encode())
    assert kind_of("../ab/x.jpg", root=str(tmp_path / "a")) == "outside_root"


def test_read_skips_missing_rows():
    positions = [i for i, _ in Source().read(PartitionInput(range(4), ["a", None, "b", None]))]
    assert positions == [0, 2]


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category"])
def test_column_values_of_text_dtypes(dtype):
    assert list(column_values(pd.Series(["a.jpg", None], dtype=dtype))) == ["a.jpg", None]


def test_column_values_of_objects():
    column = pd.Series([Path("a.jpg"), pd.NA, float("nan"), pd.NaT, 7], dtype=object)
    assert column_values(column) == ["a.jpg", None, None, None, 7]


@given(st.text())
def test_random_text_is_known_failure(text):
    assert kind_of(text, root="no such folder") in FAILURE_KINDS
