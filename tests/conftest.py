"""Fixtures of all tests, of which three fail on a leak: of threads, files, processes, folders or shared memory.

The managed cluster may stay up between tests, because starting it takes a second; the end of the session closes it
and checks again.
"""

import collections
import gc
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import dask
import fsspec
import psutil
import pytest

from pandas_imgproc import cluster

# Some containers forbid it; then each process of hundreds compiles the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # or gcsfs waits a minute for a real Google

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a background job of a shell, and so in all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Thread pools that Dask and asyncio keep for the life of the process.
POOLS = ("Dask-", "asyncio_")


def wait_until(condition, seconds=100.0):
    """Return whether a condition became true before a timeout, which is long because the machine may be busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def shared_memory(pid="self"):
    """Return the names in /dev/shm of what a process has mapped; a semaphore was mapped under another name."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return set()
    inodes = {int(line.split()[4]) for line in maps.splitlines() if "/dev/shm/" in line}
    return {Path(entry) for entry in os.scandir("/dev/shm") if entry.inode() in inodes}


def cluster_pids():
    """Return the pids of the workers of managed clusters, and None for one that is being restarted."""
    open_ones = [managed.cluster for managed in list(cluster.managed._open) if managed.cluster is not None]
    return {nanny.pid for each in open_ones for nanny in each.workers.values()}


def _threads():
    return {t for t in threading.enumerate() if not t.daemon and not t.name.startswith(POOLS)}


def _files():
    """Count the open files; sockets and pipes come and go with the cluster's work, its key with the cluster."""
    client = cluster.manager._managed.client if cluster.manager._managed else None  # None if its start has failed
    key = client.security.tls_worker_key if client else None
    links = []
    for fd in Path(f"/proc/{os.getpid()}/fd").glob("*"):
        if str(fd) == key:
            continue
        try:
            links.append(str(fd.readlink()))
        except OSError:  # the descriptor that lists them
            continue
    return collections.Counter(x for x in links if x.startswith("/") and not x.startswith(("/dev/", "/proc/")))


def _children():
    children = set()
    for child in psutil.Process().children(recursive=True):
        try:
            is_tracker = any("resource_tracker" in word for word in child.cmdline())
            if not is_tracker and child.status() != psutil.STATUS_ZOMBIE and child.pid not in cluster_pids():
                children.add(child)
        except psutil.NoSuchProcess:
            continue
    return children


def pytest_collection_modifyitems(items):
    """Begin with the longest file, which would come last: one process would wait for it."""
    items.sort(key=lambda item: item.path.name != "test_examples.py")


@pytest.fixture(autouse=True)
def _no_leaked_thread():
    before = _threads()
    yield
    assert wait_until(lambda: not _threads() - before), f"threads leaked: {_threads() - before}"


def _config():
    return dask.config.get("scheduler", None), dict(dask.config.get("pandas-imgproc", {}))


@pytest.fixture(autouse=True)
def _no_leaked_config():
    """Fail on a changed configuration, as threads leave it that set it at the same time."""
    before = _config()
    yield
    assert _config() == before


@pytest.fixture(autouse=True, scope="module")
def _no_leaked_file_or_process():
    if sys.platform != "linux":
        yield
        return
    files, children = _files(), _children()
    yield
    gc.collect()
    assert wait_until(lambda: not _files() - files), f"files leaked: {_files() - files}"
    assert wait_until(lambda: not _children() - children), f"processes leaked: {_children() - children}"


@pytest.fixture(autouse=True, scope="session")
def _no_leak_of_session(tmp_path_factory):
    """Give the session a temporary folder, in which every file at the end is a leak."""
    folder = tmp_path_factory.mktemp("session-tmp")
    before, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), str(folder)
    tempfile.tempdir = None
    yield
    # A lock of a progress bar lives as long as this process.
    mapped = {name for name in shared_memory() if not name.name.startswith("sem.")}
    cluster.close()
    assert wait_until(lambda: not _children()), f"processes leaked: {_children()}"
    assert not [name for name in mapped if name.exists()]
    # Dask leaves the folder of this name after a user's cluster.
    leaked = sorted(x.name for x in folder.iterdir() if x.name != "dask-scratch-space")
    assert not leaked, f"temporary files leaked: {leaked}"
    os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    tempfile.tempdir = None


@pytest.fixture
def managed_cluster():
    """Return the client of the managed cluster of two workers, which later tests reuse."""
    return cluster.get_client(n_workers=2)


@pytest.fixture
def tiny_filesystem(tmp_path):
    """Return the mount point of a file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture(scope="session")
def _http_server():
    from http_server import HTTPServer

    with HTTPServer() as server:
        yield server


@pytest.fixture
def http_server(_http_server):
    """Return the web server on loopback, without files, latency and faults; retries do not wait."""
    _http_server.files.clear()
    _http_server.reset()
    with dask.config.set({"pandas-imgproc.retry-wait-initial": 0.0}):
        yield _http_server
    assert wait_until(lambda: not _http_server.in_flight), "requests are still in flight"


@pytest.fixture(scope="session")
def _other_http_server():
    from http_server import HTTPServer

    with HTTPServer() as server:
        yield server


@pytest.fixture
def other_http_server(_other_http_server):
    """Return a second web server on loopback, at another port."""
    _other_http_server.files.clear()
    _other_http_server.reset()
    return _other_http_server


@pytest.fixture(scope="session")
def s3():
    """Return a file system of S3 with an empty bucket, and its storage options, whose secret is a canary."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    server_options = {"endpoint_url": "http://{}:{}".format(*server.get_host_and_port()), "region_name": "eu-west-1"}
    options = {"key": "testing", "secret": "CANARY-s3-secret", "client_kwargs": server_options}
    fs = fsspec.filesystem("s3", skip_instance_cache=True, **options)
    fs.call_s3("create_bucket", Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield fs, options
    server.stop()


@pytest.fixture(scope="session")
def gcs():
    """Return a file system of Google Cloud Storage with an empty bucket, and its storage options."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    options = {"token": "anon", "endpoint_url": f"http://127.0.0.1:{port}"}
    yield fsspec.filesystem("gs", skip_instance_cache=True, **options), options
    server.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium with a new profile; a test that needs it is skipped where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium; .ci/run installs it: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    quiet = [
        "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--no-first-run",
    ]  # fmt: skip
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=path, args=quiet, headless=True,
            viewport={"width": 480, "height": 320},  # without a GPU each pixel takes time
        )  # fmt: skip
        yield opened
        opened.close()
