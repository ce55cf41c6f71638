"""Locations: a name is the file of that name, and never one outside of root."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import image_bytes

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import Source
from pandas_imgproc.source.paths import RemotePath

ESCAPES = [
    "../secret.jpg", "a/../../secret.jpg", "/secret.jpg", "//127.0.0.1/secret.jpg", "..", ".", "%2e%2e/secret.jpg",
    "%2E%2E%2Fsecret.jpg", "%252e%252e/secret.jpg", "a/%2e%2e/%2e%2e/secret.jpg", "%2fsecret.jpg", "..\\secret.jpg",
    "a\\..\\..\\secret.jpg", "%5c%2e%2e%5csecret.jpg", "\\\\host\\secret.jpg", "file:///etc/passwd",
    "http://other/secret.jpg", "s3://other/secret.jpg", "simplecache::s3://other/secret.jpg",
]  # fmt: skip


def kind_of(source, value):
    with pytest.raises(UnreadableImageError) as caught:
        source.resolve(value)
    return caught.value.kind


@pytest.mark.parametrize("root", ["http://127.0.0.1:1/train", "s3://bucket/train", "gs://bucket/train", "x.zip"])
@pytest.mark.parametrize("name", ESCAPES)
def test_name_outside_root_is_rejected(root, name):
    assert kind_of(Source(root=root), name) == "outside_root"


@pytest.mark.parametrize("name", ["a\0.jpg", "a%00.jpg", "a%2500.jpg"])
def test_name_with_nul_is_invalid(name):
    assert kind_of(Source(root="s3://bucket/train"), name) == "invalid_path"


@pytest.mark.parametrize(
    ("root", "name", "url"),
    [
        ("http://h/train", "a/../b.jpg", "http://h/train/b.jpg"),
        ("http://h/train/", "http://h/train/b.jpg", "http://h/train/b.jpg"),
        ("http://h/train?sig=x", "b?.jpg", "http://h/train/b%3F.jpg?sig=x"),
        ("http://h", "100% #?é.jpg", "http://h/100%25%20%23%3F%C3%A9.jpg"),
        ("http://h", "a%2fb.jpg", "http://h/a%252fb.jpg"),
        ("http://h", "a::b.jpg", "http://h/a::b.jpg"),
        ("s3://bucket", "100% #?é.jpg", "bucket/100% #?é.jpg"),
        ("s3://bucket/a", "b/./c//d.jpg", "bucket/a/b/c//d.jpg"),
        ("S3://bucket/a", "b.jpg", "bucket/a/b.jpg"),
        (None, "https://h/100% #é.jpg?w=20&s=a%20b", "https://h/100%25%20%23%C3%A9.jpg?w=20&s=a%20b"),
        (None, "https://h/a%20b.jpg", "https://h/a%20b.jpg"),
        (None, "HTTP://h/a.jpg", "http://h/a.jpg"),
        (None, "https://bücher.example/a.jpg", "https://xn--bcher-kva.example/a.jpg"),
        (None, "gs://bucket/a#b?c.jpg", "bucket/a#b?c.jpg"),
    ],
)
def test_name_resolves_to_literal_file(root, name, url):
    location = Source(root=root).resolve(name)
    assert isinstance(location, RemotePath)
    assert location.path == url


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("ftp://h/a.jpg", "unsupported"),
        ("memory://a.jpg", "unsupported"),
        ("simplecache::s3://b/a.jpg", "unsupported"),
        ("zip://a.jpg::https://h/x.zip", "unsupported"),
        ("s3://b/a::file:///etc/passwd", "unsupported"),
        ("file::s3://b/a.jpg", "unsupported"),
        ("https://", "invalid_path"),
        ("https:///a.jpg", "invalid_path"),
        ("https://\ud800/a.jpg", "invalid_path"),
        ("https://h/\ud800.jpg", "invalid_path"),
        ("https://" + "ü" * 80 + "/a.jpg", "invalid_path"),
        ("s3://bucket", "not_a_file"),
        ("s3://bucket/a/", "not_a_file"),
    ],
)
def test_invalid_url_has_failure_kind(value, kind):
    assert kind_of(Source(), value) == kind


def test_chained_url_resolves_if_allowed():
    source = Source(schemes=Source.schemes | {"simplecache"})
    assert isinstance(source.resolve("simplecache::s3://b/a.jpg"), RemotePath)
    assert kind_of(source, "simplecache::ftp://b/a.jpg") == "unsupported"


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("ftp://h/train", "ftp:// is not read"),
        ("simplecache::s3://b/train", "simplecache:// is not read"),
        ("https://", "names no server"),
        ("a\0b", "NUL"),
        ("train.7z", "compressed as a whole, .*unpack it"),
        ("https://host/train.TGZ", "compressed as a whole, .*download it"),
        ("s3://b/train.tar.xz", "compressed as a whole"),
    ],
)
def test_invalid_root_raises(root, words):
    import pandas as pd

    with pytest.raises(ValueError, match=words):
        pd.Series(["a.jpg"]).img.load_resized(8, root=root)


def test_folder_named_like_archive_is_read(tmp_path):
    for name in ("x.zip", "y.tar.gz"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(image_bytes(1))
        assert Source(root=str(tmp_path / name)).data("a.jpg")[0] == image_bytes(1)


def test_name_outside_root_sends_no_request(http_server):
    http_server.files.update({"secret.jpg": b"secret", "train/in.jpg": b"in"})
    source = Source(root=http_server.url("train"))
    paths = ["secret.jpg", "train/../secret.jpg", "train/%2e%2e/secret.jpg", "training/x.jpg"]
    for name in [*ESCAPES, *map(http_server.url, paths)]:
        with pytest.raises(UnreadableImageError, match="outside_root"):
            source.data(name)
    assert not http_server.requests
    assert source.data("in.jpg")[0] == b"in"


@given(st.text(alphabet="./\\%2eEfF5cC ab:~?#", max_size=20))
def test_random_name_stays_below_root(name):
    from urllib.parse import unquote

    try:
        location = Source(root="http://h/train").resolve(name)
    except UnreadableImageError:
        return
    assert location.path.startswith("http://h/train/")
    decoded = location.path
    for _ in range(5):
        decoded = unquote(decoded).replace("\\", "/")
        depth = 0
        for part in decoded.removeprefix("http://h/train/").split("/"):
            depth += -1 if part == ".." else part not in ("", ".")
            assert depth >= 0
