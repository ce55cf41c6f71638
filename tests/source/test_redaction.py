"""Redaction: a planted secret is in no message, repr, log, warning, traceback, failure table, task or file."""

from __future__ import annotations

import io
import logging
import pickle
import traceback
import warnings
from urllib.parse import unquote

import dask
import pandas as pd
import pytest
from image_factory import image_bytes, row_of

import pandas_imgproc
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.partition import PartitionInput
from pandas_imgproc.source import Source, make_source
from pandas_imgproc.source.redaction import StorageOptions, redact_text, redact_url

CANARY = "cAn4ry/+=s3cret"
QUOTED = "cAn4ry%2F%2B%3Ds3cret"


def is_clean(text):
    return not any(form in text for form in (CANARY, QUOTED, "cAn4ry"))


@pytest.fixture
def debug_log():
    """Messages of all loggers, at the level DEBUG."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    names = ["", "pandas_imgproc", "fsspec", "fsspec.http", "s3fs", "gcsfs", "distributed", "distributed.worker",
             "distributed.scheduler", "aiohttp.client", "asyncio"]  # fmt: skip
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).addHandler(handler)
    yield stream
    for name in names:
        logging.getLogger(name).setLevel(before[name])
        logging.getLogger(name).removeHandler(handler)


def signed(http_server, name):
    host = http_server.url().removeprefix("http://").rstrip("/")
    return f"http://ann:{QUOTED}@{host}/{name}?X-Amz-Signature={QUOTED}&token={QUOTED}&{QUOTED}"


@pytest.mark.parametrize("scheduler", ["synchronous", "distributed"])
def test_secret_is_redacted_everywhere(http_server, tmp_path, debug_log, scheduler, request):
    client = request.getfixturevalue("managed_cluster") if scheduler == "distributed" else None
    http_server.files.update({f"{k}.jpg": image_bytes(k) for k in range(20)})
    faults = {"1.jpg": "403", "2.jpg": "503", "3.jpg": "reset", "4.jpg": "truncated", "5.jpg": "stall"}
    http_server.fault = lambda path, k: faults.get(path)
    names = pd.Series([signed(http_server, f"{k}.jpg") for k in range(21)])
    options = {"headers": {"X-Auth": CANARY}, "cookies": {"session": CANARY}}
    quick = {"pandas-imgproc.read-timeout": 1.5, "pandas-imgproc.retry-attempts": 2, "scheduler": scheduler}
    with dask.config.set(quick), warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        column = names.img.load_resized(8, storage_options=options, out=tmp_path / "x.npy")
    assert [row_of(image) for image in column.dropna().img.to_numpy()] == [0, *range(6, 20)]
    assert http_server.requests[0][2]["X-Auth"] == CANARY, "the secret was not sent"
    shown = column.img.failures.to_string(max_colwidth=None) + "".join(str(x.message) for x in caught_warnings)
    assert is_clean(shown), shown
    assert len(caught_warnings) == 1
    for path in tmp_path.rglob("*"):
        assert is_clean(path.read_bytes().decode(errors="replace")), path
    logged = debug_log.getvalue() + (str(client.get_worker_logs()) if client else "")
    assert is_clean(logged)
    with dask.config.set(quick), pytest.raises(UnreadableImageError) as caught:
        names[1:].img.load_resized(8, storage_options=options, errors="raise")
    assert is_clean("".join(traceback.format_exception(caught.value)))


def test_root_with_secret_is_redacted(http_server, tmp_path):
    root = signed(http_server, "train")
    names = pd.Series(["a.jpg", "b.jpg", "../c.jpg"])
    with pytest.raises(pandas_imgproc.NoReadableImageError) as caught:
        names.img.load_resized(8, root=root, out=tmp_path / "x.npy")
    assert is_clean("".join(traceback.format_exception(caught.value)))
    assert is_clean((tmp_path / "x.npy.journal").read_text())
    with pytest.raises(ValueError, match="cannot be read") as invalid_root:
        names.img.load_resized(8, root=root.replace("http:", "ftp:"))
    assert is_clean(str(invalid_root.value))


def test_s3_failure_hides_secret(s3):
    _, options = s3
    wrong = {**options, "secret": CANARY, "config_kwargs": {"signature_version": CANARY}}
    column = pd.Series(["s3://bucket/a.jpg"]).img.load_resized(8, storage_options=wrong, errors="coerce")
    assert is_clean(column.img.failures.to_string(max_colwidth=None))


def test_repr_of_pickled_source_hides_secrets():
    source = make_source(root=f"https://ann:{QUOTED}@host/train", storage_options={"key": CANARY})
    partition = PartitionInput(range(1), [f"https://host/a.jpg?token={CANARY}"])
    restored = pickle.loads(pickle.dumps(source))
    assert restored.options.for_protocol("s3") == {"key": CANARY}
    for value in (
        source,
        restored,
        partition,
        source.options,
        [file for _, file in source.read(partition)],
        source.resolve("a.jpg"),
    ):
        assert is_clean(repr(value))
        assert is_clean(str(value))
    assert is_clean(source.options.tokenize("s3"))


@pytest.mark.parametrize(
    "value",
    [
        f"https://ann:{QUOTED}@host/a.jpg",
        f"https://host/a.jpg?sig={CANARY}",
        f"https://host/a.jpg?{CANARY}",
        f"https://host/a b.jpg?X-Goog-Signature={CANARY}&x=1",
        f"https://host/a.jpg#access_token={CANARY}",
        f"s3://key:{QUOTED}@bucket/a.jpg",
        f"simplecache::https://ann:{QUOTED}@host/a.jpg?token={CANARY}",
        f"https://host/a.jpg;token={QUOTED}",
        f"https://host/a;sig={QUOTED}.jpg",
        f"https://host/;jsessionid={QUOTED}/a b.jpg",
        f"https://host/a;v=1;%74oken={QUOTED}/b.jpg?x=1",
        f"https://host/a%3Btoken%3D{QUOTED}.jpg",
        f"https://host/a%253Bsig%253D{QUOTED}.jpg",
        f"https://host/a%3Ftoken%3D{QUOTED}",
        f"https://host/a.jpg;={QUOTED}",
        f"https://host/a,token={QUOTED}/b.jpg",
        f"https://host/a;token=x.{QUOTED}.{QUOTED}",
        f"HTTPS://HOST/a;TOKEN={QUOTED}",
        f"https://host/?url=https%3A%2F%2Fhost%2Fa.jpg%3Bsig%3D{QUOTED}",
        f"https://host/?url=https://host/a;sig={QUOTED}",
        f"https://host/https://ann:{QUOTED}@host/a;sig={QUOTED}?sig={QUOTED}",
        f"zip://a.jpg::https://ann:{QUOTED}@host/all.zip;token={QUOTED}?sig={QUOTED}",
        f"s3://bucket/a::https://host/a.jpg;sig={QUOTED}?sig={QUOTED}",
        f"http://ann:pa/{QUOTED}@host/a.jpg",
        f"http://ann:{CANARY}@host/a.jpg",
        f"http:///ann:{QUOTED}@host/a.jpg",
        f"http:////ann:pa/{QUOTED}@host/a.jpg",
        f"http://ann:123456/{QUOTED}@host/a.jpg",
        f"s3://key:pa/{QUOTED}@bucket/a.jpg",
        f"s3:///key:{QUOTED}@bucket/a.jpg",
        f"simplecache::https://ann:pa/{QUOTED}@host/a.jpg",
        f"zip://a.jpg::https://ann:pa/{QUOTED}@host/all.zip",
        f"s3://bucket/a.jpg?X-Amz-Signature={CANARY}",
        f"gs://bucket/a.jpg?x=1&X-Goog-Signature={CANARY}&y=2",
        f"s3://bucket/a.jpg?AWSAccessKeyId={CANARY}&Signature={QUOTED}",
        f"gs://bucket/a.jpg#access_token={CANARY}",
        f"s3://bucket/a.jpg?X-Amz-Security-Token={QUOTED}",
        f"memory://a.jpg?sig={QUOTED}",
        {"bytes": None, "path": f"https://host/a.jpg?sig={CANARY}"},
        {"bytes": None, "path": f"https://host/a.jpg;sig={QUOTED}"},
        [f"https://ann:{QUOTED}@host/a.jpg?sig={CANARY}"],
    ],
)
def test_file_path_is_redacted(value):
    [(_, file)] = Source().read(PartitionInput(range(1), [value]))
    assert is_clean(file.path), file.path
    with pytest.raises(UnreadableImageError) as caught:
        Source(root="folder").data(value)
    assert is_clean(str(caught.value))
    assert " b.jpg" in str(value) or is_clean(redact_text(f"of {value}, 3 times"))
    schemes = Source.schemes | {"zip", "simplecache"}
    assert is_clean(str(Source(schemes=schemes).path(value))), "the name of a derived file"


@pytest.mark.parametrize("url", [f"http:ann:{QUOTED}@host/a.jpg", f"HTTPS:/ann:pa/{QUOTED}@host/a.jpg"])
def test_url_with_too_few_slashes_is_redacted(url):
    """It is read as a local path."""
    column = pd.Series([url]).img.load_resized(8, errors="coerce")
    assert is_clean(column.img.failures.to_string(max_colwidth=None))
    assert is_clean(redact_text(f"of {url}, 3 times"))


@pytest.mark.parametrize("name", [f"a;token={QUOTED}.jpg", f"sub;sig={QUOTED}/a.jpg", f"a.jpg;jsessionid={QUOTED}"])
def test_parameter_of_name_below_web_root_is_redacted(http_server, tmp_path, name):
    names = pd.Series(["0.jpg", name])
    http_server.files["0.jpg"] = image_bytes(0)
    column = names.img.load_resized(8, root=http_server.url(), errors="coerce", out=tmp_path / "x.npy")
    assert is_clean(column.img.failures.to_string(max_colwidth=None))
    assert any("cAn4ry" in path for _, path, _ in http_server.requests), "the secret was not sent"
    for path in tmp_path.rglob("*"):
        assert is_clean(path.read_bytes().decode(errors="replace")), path


def test_secret_is_in_no_name_of_a_written_file(http_server, tmp_path):
    http_server.files.update({unquote(f"a/{k}.jpg;token={QUOTED}"): image_bytes(k) for k in range(2)})
    urls = pd.Series([http_server.url(f"a/{k}.jpg;token={QUOTED}") for k in range(2)])
    paths = urls.img.save_resized(tmp_path, 8)
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == ["0.jpg", "1.jpg"]
    assert is_clean(str(paths.tolist()))
    for path in tmp_path.rglob("*"):
        assert is_clean(str(path))
        assert path.suffix == ".jpg" or is_clean(path.read_bytes().decode(errors="replace")), path


def test_url_without_secret_is_unchanged():
    names = ["a?b#c.jpg", "s3://bucket/a?b#c.jpg", "https://host/a@b.jpg", "https://host/a.jpg?id=7&w=20",
             "https://host/a;b.jpg", "https://host/a;v=2/w=80,format=auto/b&c=d.jpg", "x/a;token=b.jpg",
             "http://host:8080/a@2x.jpg", "http://[::1]:80/a@b.jpg", "http://[::1]/a@b.jpg", "file:///a:b/c@d.jpg",
             "memory:///a@b.jpg", "memory://x/a@b.jpg", "s3://bucket/a?b=1&signal=2.jpg",
             "s3://arn:aws:s3:eu:1:accesspoint/a/b@c.jpg", "zip://a.jpg::https://host/b@c.zip", "a:b/c@d.jpg",
             "https://host:/a@b.jpg"]  # fmt: skip
    for name in names:
        assert redact_url(name) == name


def test_redact_masks_option_values():
    options = StorageOptions({"key": CANARY, "more": [{"inner": b"another-s3cret"}], "anon": False})
    text = options.redact(f"key {CANARY} or {QUOTED} or another-s3cret at https://host/?t={CANARY}")
    assert text == "key … or … or … at https://host/?t=…"
