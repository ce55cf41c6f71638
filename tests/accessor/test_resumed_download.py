"""Downloads that end within a file: the next attempt and the next call go on there, and never splice two versions."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import dask
import fsspec
import pandas as pd
import pytest

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc.source import MAX_FILE_BYTES
from pandas_imgproc.source.local import BLOCK_NBYTES
from pandas_imgproc.source.transfer import _RemoteCopy

NBYTES = 8 * BLOCK_NBYTES + 77
LOST = BLOCK_NBYTES + 2**18  # at most, at the end of a connection: a block, and what aiohttp drops
LARGE = random.Random(1).randbytes(NBYTES)
OTHER = random.Random(2).randbytes(NBYTES - 1000)
HALF = NBYTES // 2
EARLY, LATE = "Tue, 01 Dec 2020 03:00:00 GMT", "Tue, 01 Dec 2020 03:00:01 GMT"


def download(url, folder, **options):
    with dask.config.set(scheduler="synchronous"):
        return pd.Series([url]).img.download(folder, **options)


def content(folder, name="a.bin"):
    """Return the bytes of the one file beside the manifest."""
    assert sorted(path.name for path in Path(folder).iterdir()) == [".pandas-imgproc.jsonl", name]
    return (Path(folder) / name).read_bytes()


def end_within(server, folder, fault=f"drop {HALF}", **options):
    """Download the beginning of a file in a call that fails."""
    server.fault = lambda path, k: fault if not k else "503"
    with dask.config.set({"pandas-imgproc.retry-attempts": 1, "pandas-imgproc.read-timeout": 20}):
        paths = download(server.url("a.bin"), folder, errors="coerce", **options)
    assert paths.isna().all()
    assert HALF - LOST <= (folder / "a.bin.part").stat().st_size <= HALF
    server.fault = lambda path, k: None


def file_size(path):
    return path.stat().st_size if path.exists() else None


def forget_files(manifest):
    """Remove the records of finished files from a manifest."""
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if '"made"' not in line))


@pytest.fixture
def server(http_server):
    http_server.files["a.bin"] = LARGE
    return http_server


def ranges(server):
    return [headers.get("Range") for method, _, headers in server.requests if method == "GET"]


def test_next_attempt_continues_and_progress_counts_attempts_anew(server, tmp_path):
    n_drops = 3
    server.fault = lambda path, k: f"drop {NBYTES // n_drops}" if k < n_drops else None
    with dask.config.set({"pandas-imgproc.retry-attempts": 2}):
        download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE
    assert server.n_sent <= NBYTES + n_drops * LOST
    assert all(ranges(server)[1:])


def test_silent_line_that_has_delivered_bytes_is_progress(server, tmp_path):
    n_holds = 3
    server.fault = lambda path, k: f"hold {NBYTES // (n_holds + 1)}" if k < n_holds else None
    with dask.config.set({"pandas-imgproc.retry-attempts": n_holds, "pandas-imgproc.read-timeout": 0.5}):
        download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE
    assert len(server.requests) > n_holds


def test_next_call_continues(server, tmp_path):
    end_within(server, tmp_path)
    paths = download(server.url("a.bin"), tmp_path)
    assert paths[0] == f"{tmp_path}/a.bin"
    assert content(tmp_path) == LARGE
    assert server.n_sent <= NBYTES + LOST


@pytest.mark.parametrize("has_version", [True, False])
def test_changed_file_begins_anew(server, tmp_path, has_version):
    if not has_version:
        server.headers["ETag"] = 'W/"weak"'
    end_within(server, tmp_path)
    server.files["a.bin"] = OTHER
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == OTHER


@pytest.mark.parametrize("tags", [('W/"1"', 'W/"2"'), ('w/"1"', 'w/"2"'), ("", 'W/"1"'), ('W/"1"', "")])
def test_another_weak_tag_of_the_same_date_begins_anew(server, tmp_path, tags):
    server.headers.update({"Last-Modified": EARLY, "Date": LATE, "ETag": tags[0]})
    end_within(server, tmp_path)
    server.files["a.bin"], server.headers["ETag"] = LARGE[::-1], tags[1]
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE[::-1]


@pytest.mark.parametrize("sent", [EARLY, "?"])
def test_date_of_the_second_of_the_response_begins_anew(server, tmp_path, sent):
    server.headers.update({"Last-Modified": EARLY, "Date": sent, "ETag": ""})
    end_within(server, tmp_path)
    server.files["a.bin"], server.headers["Date"] = LARGE[::-1], LATE
    with dask.config.set({"pandas-imgproc.retry-attempts": 1}):
        download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE[::-1]


@pytest.mark.parametrize("tag", ['W/"1"', ""])
def test_file_of_the_same_date_continues(server, tmp_path, tag):
    server.headers.update({"Last-Modified": EARLY, "Date": LATE, "ETag": tag})
    end_within(server, tmp_path)
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE
    assert server.n_sent <= NBYTES + LOST
    # A weak tag is never a condition, nor is the date beside one.
    assert server.requests[-1][2].get("If-Range") == (None if tag else EARLY)


@pytest.mark.parametrize("is_changed", [False, True])
def test_part_without_a_version_is_compared_by_the_digest(server, tmp_path, is_changed):
    md5 = base64.b64encode(hashlib.md5(LARGE).digest()).decode()
    server.headers.update({"Last-Modified": EARLY, "Date": EARLY, "ETag": "", "Content-MD5": md5})
    end_within(server, tmp_path)
    data = LARGE[::-1] if is_changed else LARGE
    server.files["a.bin"], server.headers["Date"] = data, LATE
    server.headers["Content-MD5"] = base64.b64encode(hashlib.md5(data).digest()).decode()
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == data
    assert is_changed or server.n_sent <= NBYTES + LOST


def test_file_system_without_versions_begins_anew(tmp_path, monkeypatch):
    fs = fsspec.filesystem("memory")
    monkeypatch.setattr(type(fs), "info", lambda fs, path: {"name": path, "size": NBYTES, "type": "file"})
    fs.pipe_file("/unversioned/a.bin", LARGE)
    download("memory://unversioned/a.bin", tmp_path, schemes=["memory"])
    (tmp_path / "a.bin").unlink()
    forget_files(tmp_path / ".pandas-imgproc.jsonl")
    (tmp_path / "a.bin.part").write_bytes(LARGE[:HALF])
    fs.pipe_file("/unversioned/a.bin", LARGE[::-1])
    download("memory://unversioned/a.bin", tmp_path, schemes=["memory"])
    assert content(tmp_path) == LARGE[::-1]


def test_server_that_ignores_conditions_is_not_spliced(server, tmp_path):
    end_within(server, tmp_path)
    server.files["a.bin"], server.ignores_if_range = OTHER, True
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == OTHER
    assert ranges(server)[-2] is not None
    assert ranges(server)[-1] is None


def test_shorter_file_begins_anew(server, tmp_path):
    end_within(server, tmp_path)
    server.files["a.bin"], server.ignores_if_range = OTHER[: BLOCK_NBYTES + 1], True
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == OTHER[: BLOCK_NBYTES + 1]


def test_small_file_in_place_of_a_large_one_leaves_no_part(server, tmp_path):
    end_within(server, tmp_path)
    server.files["a.bin"] = b"<html>moved</html>"
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == b"<html>moved</html>"


def test_server_that_never_continues_is_not_asked_for_ever(server, tmp_path):
    def drop(path, k):
        server.headers["ETag"] = f'"{k}"'
        return f"drop {HALF}" if k < 40 else None

    server.fault, server.ignores_if_range = drop, True
    paths = download(server.url("a.bin"), tmp_path, errors="coerce")
    assert paths.img.failures["message"].tolist() == ["the file has changed, each of 5 times"]
    assert len(server.requests) < 20


@pytest.mark.parametrize("nbytes", [1000, NBYTES])
def test_part_that_was_not_requested_is_failure(server, tmp_path, nbytes):
    server.files["a.bin"], server.status = LARGE[1:nbytes], 206
    server.headers["Content-Range"] = f"bytes 1-{nbytes - 1}/{nbytes}"
    paths = download(server.url("a.bin"), tmp_path, errors="coerce")
    assert "that was not requested" in paths.img.failures["message"][0]


def test_server_without_ranges_begins_anew(server, tmp_path):
    server.ranges = False
    server.fault = lambda path, k: None if k else f"drop {HALF}"
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE


def test_complete_part_costs_one_byte(server, tmp_path):
    end_within(server, tmp_path)
    (tmp_path / "a.bin.part").write_bytes(LARGE)
    server.n_sent = 0
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE
    assert server.n_sent == 1


def test_damaged_bytes_are_read_again(server, tmp_path):
    server.headers["Content-MD5"] = base64.b64encode(hashlib.md5(LARGE).digest()).decode()
    end_within(server, tmp_path)
    with (tmp_path / "a.bin.part").open("rb+") as part:
        part.write(b"damaged")
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE


@pytest.mark.parametrize("nbytes", [1000, NBYTES])
def test_wrong_digest_is_failure(server, tmp_path, nbytes):
    server.files["a.bin"] = LARGE[:nbytes]
    server.headers["X-Goog-Hash"] = "crc32c=AAAAAA==,md5=" + base64.b64encode(bytes(16)).decode()
    with dask.config.set({"pandas-imgproc.retry-attempts": 2}):
        paths = download(server.url("a.bin"), tmp_path, errors="coerce")
    assert paths.img.failures["message"][0] == (
        "the md5 differs from the one that the server announced, each of 2 times"
    )
    assert not (tmp_path / "a.bin").exists()


def test_digest_of_stored_compressed_bytes_is_not_compared(server, tmp_path):
    server.headers["X-Goog-Hash"] = "md5=" + base64.b64encode(bytes(16)).decode()
    server.headers["X-Goog-Stored-Content-Encoding"] = "gzip"
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
}


@pytest.fixture(params=["http", "gs"])
def compressed(request, server):
    """Return the URL of a file on a server that compresses it, and its options."""
    if request.param == "http":
        return server.url("a.bin"), {}
    server.files["download/storage/v1/b/bucket/o/a.bin"] = server.files["a.bin"]
    return "gs://bucket/a.bin", {"token": "anon", "endpoint_url": server.url().rstrip("/")}


def compress(server, encoding, data, n_lost=0):
    packed = PACKERS[encoding](data)
    server.headers["Content-Encoding"] = encoding
    server.files.update(dict.fromkeys(server.files, packed[: len(packed) - n_lost]))


@pytest.mark.parametrize("data", [b"small" * 300, LARGE, bytes(NBYTES)], ids=["small", "large", "zeros"])
@pytest.mark.parametrize("encoding", PACKERS)
def test_compressed_response_is_whole_or_a_failure(server, tmp_path, compressed, encoding, data):
    url, options = compressed
    compress(server, encoding, data, n_lost=9)
    with dask.config.set({"pandas-imgproc.retry-attempts": 2}):
        paths = download(url, tmp_path, storage_options=options, errors="coerce")
    assert paths.img.failures["message"].tolist() == ["the response ended too early, each of 2 times"]
    assert not (tmp_path / "a.bin").exists()
    compress(server, encoding, data)
    download(url, tmp_path, storage_options=options)
    assert content(tmp_path) == data


@pytest.mark.parametrize(
    ("encoding", "message"), [("gzip", "its bytes are not compressed"), ("br", "compresses it with br, which was not")]
)
def test_response_that_is_not_as_its_encoding_is_failure(server, tmp_path, compressed, encoding, message):
    url, options = compressed
    server.headers["Content-Encoding"] = encoding
    paths = download(url, tmp_path, storage_options=options, errors="coerce")
    assert message in paths.img.failures["message"][0]


def test_compressed_file_is_not_copied_twice(server, tmp_path):
    compress(server, "gzip", LARGE)
    for _ in range(2):
        download(server.url("a.bin"), tmp_path)
    assert len(ranges(server)) == 1


def test_part_of_another_program_is_left(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"a browser's")
    download(server.url("a.bin"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == LARGE
    assert (tmp_path / "a.bin.part").read_bytes() == b"a browser's"


@pytest.mark.parametrize("was_begun", [False, True])
def test_file_with_the_name_of_a_part_is_another(server, tmp_path, was_begun):
    names = ["a.bin", "a.bin.part"]
    if was_begun:
        end_within(server, tmp_path)
    server.files["a.bin.part"] = OTHER
    other = tmp_path / "a.bin.part"
    server.gate = lambda path, n: path != "a.bin" or n < HALF // 2 or file_size(other) == len(OTHER)
    for _ in range(2):
        with dask.config.set(scheduler="synchronous"):
            paths = pd.Series(names).img.download(tmp_path, root=server.url(), overwrite=was_begun)
        assert [Path(path).read_bytes() for path in paths] == [LARGE, OTHER]
    assert not os.path.exists(f"{other}.part")


@pytest.mark.parametrize("data", [None, b"a browser's"])
def test_part_that_is_deleted_or_replaced_meanwhile_is_finished(server, tmp_path, data):
    part, done = tmp_path / "a.bin.part", []

    def replace(path, n):
        if n > HALF and not done and part.exists():
            part.unlink()
            done.append(data and part.write_bytes(data))
        return n < HALF or bool(done)

    server.gate = replace
    download(server.url("a.bin"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == LARGE
    assert (part.read_bytes() if part.exists() else None) == data


@pytest.mark.parametrize("nbytes", [250, 251, 255])
def test_name_that_has_room_for_no_suffix_is_written(server, tmp_path, nbytes):
    name = "x" * nbytes
    server.files[name] = LARGE
    server.fault = lambda path, k: None if k else f"drop {HALF}"
    download(server.url(name), tmp_path)
    assert content(tmp_path, name) == LARGE
    assert server.n_sent <= NBYTES + LOST


def test_part_that_another_process_writes_is_left(server, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    end_within(server, tmp_path)
    with (tmp_path / "a.bin.part").open("rb+") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        download(server.url("a.bin"), tmp_path)
        assert (tmp_path / "a.bin").read_bytes() == LARGE
        assert (tmp_path / "a.bin.part").stat().st_size <= HALF


def test_killed_process_loses_at_most_a_block(server, tmp_path):
    server.fault = lambda path, k: f"hold {HALF}"
    script = (
        "import pandas as pd, pandas_imgproc\n"
        f"pd.Series([{server.url('a.bin')!r}]).img.download({str(tmp_path)!r}, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(pandas_imgproc.__file__).parent.parent)
    part = tmp_path / "a.bin.part"
    assert wait_until(lambda: part.exists() and part.stat().st_size > HALF - LOST)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.fault = lambda path, k: None
    download(server.url("a.bin"), tmp_path)
    assert content(tmp_path) == LARGE
    assert server.n_sent <= NBYTES + LOST


LAST_BLOCK_AT_EXIT = """
import asyncio, atexit, sys, fsspec.asyn
from pandas_imgproc.sinks.part_file import PartFile
from pandas_imgproc.source import FileVersion

def run(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, fsspec.asyn.get_loop()).result(60)

async def begin():
    await output.start(FileVersion(size=100))
    await output.write(b"first ")

async def end():
    await output.write(b"last")
    await output.close()

output = PartFile(sys.argv[1], "0", 0, None, lambda: True, is_free=True)
run(begin())
atexit.register(lambda: run(end()))  # which is called when the pools of threads have ended
"""


def test_last_block_is_written_when_no_thread_starts_any_more(tmp_path):
    """As after Ctrl-C, when the interpreter ends before the cancelled copies do."""
    words = [sys.executable, "-c", LAST_BLOCK_AT_EXIT, str(tmp_path / "a.bin")]
    root = Path(pandas_imgproc.__file__).parent.parent
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "a.bin.part").read_bytes() == b"first last"


def test_workers_continue(server, tmp_path, managed_cluster):
    end_within(server, tmp_path)
    with dask.config.set(scheduler="distributed"):
        pd.Series([server.url("a.bin")]).img.download(tmp_path)
    assert content(tmp_path) == LARGE
    assert server.n_sent <= NBYTES + LOST


def test_long_copy_is_no_slow_row(server, tmp_path, managed_cluster):
    server.pace = (NBYTES // 5, 0.6)
    with dask.config.set({"scheduler": "distributed", "pandas-imgproc.row-timeout": 1}):
        pd.Series([server.url("a.bin")]).img.download(tmp_path)
    assert content(tmp_path) == LARGE


def test_disk_full_ends_the_call_and_keeps_the_part(server, tiny_filesystem):
    server.files["a.bin"] = LARGE * 2
    with pytest.raises(OSError, match=r"a\.bin' cannot be written: No space left .* what was finished is kept"):
        download(server.url("a.bin"), tiny_filesystem)
    assert (tiny_filesystem / "a.bin.part").stat().st_size > NBYTES // 2


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_bucket_continues(s3, gcs, tmp_path, scheme, monkeypatch):
    fs, options = s3 if scheme == "s3" else gcs
    old, new = LARGE[:600_000], OTHER[:600_000]
    fs.pipe_file("bucket/resumed/a.bin", old)
    url = f"{scheme}://bucket/resumed/a.bin"
    download(url, tmp_path, storage_options=options)
    (tmp_path / "a.bin").unlink()
    # As a call leaves them that is killed: the record of the part is that of the call.
    manifest, part = tmp_path / ".pandas-imgproc.jsonl", tmp_path / "a.bin.part"
    forget_files(manifest)
    part.write_bytes(old[:400_000])
    reads = []
    monkeypatch.setattr(
        _RemoteCopy, "_range", lambda copy, own=_RemoteCopy._range: reads.append(own(copy)) or reads[-1]
    )
    download(url, tmp_path, storage_options=options)
    assert content(tmp_path) == old
    assert [byte_range for byte_range, _ in reads] == [(400_000, None)]
    (tmp_path / "a.bin").unlink()
    forget_files(manifest)
    part.write_bytes(old[:400_000])
    fs.pipe_file("bucket/resumed/a.bin", new)
    download(url, tmp_path, storage_options=options)
    assert content(tmp_path) == new


def test_copies_have_no_limit_of_size(server, tmp_path, monkeypatch):
    monkeypatch.setattr("pandas_imgproc.source.local.MAX_FILE_BYTES", BLOCK_NBYTES)
    assert MAX_FILE_BYTES > NBYTES
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.bin").write_bytes(LARGE)
    for to, value in (("url", server.url("a.bin")), ("local", str(tmp_path / "source" / "a.bin"))):
        download(value, tmp_path / to)
        assert content(tmp_path / to) == LARGE
    failed = pd.Series([server.url("a.bin")]).img.load_resized(8, errors="coerce")
    assert failed.img.failures["kind"][0] == "too_large"


def test_large_files_arrive_together(server, tmp_path):
    server.files.update({f"{k}.bin": LARGE[k:] for k in range(6)})
    server.min_in_flight = 5  # one after the other they would get no response
    names = pd.Series([f"{k}.bin" for k in range(6)])
    with dask.config.set(scheduler="synchronous"):
        paths = names.img.download(tmp_path, root=server.url())
    assert [Path(path).read_bytes() for path in paths] == [LARGE[k:] for k in range(6)]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]
