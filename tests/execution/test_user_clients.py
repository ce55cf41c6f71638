"""Clients of the user, of any kind: clusters of processes, threads, workers that join, leave, or lack a module."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest
from cluster_subprocess import ROOT, SubprocessCluster
from dask.sizeof import sizeof
from distributed import Client, LocalCluster, Security
from image_factory import row_image, row_of

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc import ClusterError, MissingExtraError, NoReadableImageError, UnreadableImageWarning

FILES = ["red.png", "gone.png", "half.jpg", None, *(f"{k}.png" for k in range(20))]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return the caller's directory, in which no worker was started."""
    folder = tmp_path_factory.mktemp("caller")
    for number in range(20):
        row_image(number, (24, 16)).save(folder / f"{number}.png")
    row_image(1, (60, 40)).save(folder / "red.png")
    row_image(2, (60, 40)).save(folder / "half.jpg")
    (folder / "half.jpg").write_bytes((folder / "half.jpg").read_bytes()[:400])
    cloudpickle.register_pickle_by_value(sys.modules["image_factory"])
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return folder


@pytest.fixture
def paths(home, monkeypatch):
    """Return paths relative to the caller's directory."""
    monkeypatch.chdir(home)
    return pd.Series(FILES, index=[f"row {k % 9}" for k in range(len(FILES))], name="path")


@pytest.fixture(scope="module")
def tls_cluster(tmp_path_factory):
    """A scheduler and two workers, with TLS; one has two threads and a nanny."""
    folder = tmp_path_factory.mktemp("tls")
    temporary, options, files = Security.temporary(), [], {}
    for name in ("ca_file", "client_cert", "client_key"):
        path = folder / name
        path.write_text(getattr(temporary, f"tls_{name}"))
        files[f"tls_{name}"] = str(path)
        options += [f"--tls-{name.removeprefix('client_').replace('_', '-')}", str(path)]
    cluster = SubprocessCluster(folder, "--protocol", "tls", *options)
    try:
        cluster.worker("--nthreads", "2")
        cluster.worker()
        with cluster.client(security=Security(**files, require_encryption=True), set_as_default=False) as client:
            client.wait_for_workers(2)
            yield cluster, client
    finally:
        cluster.close()


@pytest.fixture
def threads_client(tmp_path):
    with Client(
        processes=False, n_workers=1, threads_per_worker=4, dashboard_address="127.0.0.1:0", local_directory=tmp_path
    ) as client:
        yield client


@pytest.fixture
def client(request, managed_cluster):
    kind = request.param
    return managed_cluster if kind == "managed" else request.getfixturevalue(kind)


def _mean(pixels):
    return float(pixels.mean())


def _jitter(pixels):
    if dask.config.get("scheduler", None) != "synchronous":
        sizeof(list(range(20)))  # as Dask does in another thread of a worker: it draws random numbers, to guess a size
    return (pixels * np.random.rand() + random.random() * 5).astype("uint8")  # noqa: NPY002


def _read_again(_, out):
    return pandas_imgproc.read_result(out)


METHODS = {
    "load_resized": lambda s, to, **options: s.img.load_resized((20, 12), **options),
    "augment": lambda s, to, **options: s.img.augment(_jitter, n=3, size=8, seed=5, **options),
    "map": lambda s, to, **options: s.img.map(_mean, **options),
    "metadata": lambda s, to, **options: s.img.metadata(**options),
    "features": lambda s, to, **options: s.img.features(**options),
    "hash": lambda s, to, **options: s.img.hash(**options),
    "issues": lambda s, to, **options: s.img.issues(**options),
    "duplicate_groups": lambda s, to, **options: s.img.duplicate_groups(**options),
    "verify": lambda s, to, **options: s.img.verify(**options),
    "save_thumbnails": lambda s, to, **options: s.img.save_thumbnails(f"{to}/thumbs", size=8, **options),
    "save_resized": lambda s, to, **options: s.img.save_resized(f"{to}/{{stem}}.png", size=9, **options),
    "download": lambda s, to, **options: s.img.download(f"{to}/copies", **options),
    "out": lambda s, to, **options: _read_again(s.img.load_resized(8, out=f"{to}.parquet", **options), f"{to}.parquet"),
}
EXPECTED: dict[str, object] = {}


def run(method, paths, to, **options):
    """Return the result of a method without the names of directories, and its failures."""
    options = options if method == "verify" else {**options, "errors": "coerce"}
    result = METHODS[method](paths, to, progress=False, **options)
    failures = result.img.failures
    if result.dtypes is not None and hasattr(result, "dtype") and str(result.dtype).startswith("image"):
        result = [None if image is pd.NA else np.asarray(image).tolist() for image in result]
    elif method in ("save_thumbnails", "save_resized", "download"):
        result = [name if pd.isna(name) else (Path(name).name, Path(name).read_bytes()) for name in result]
    return result, failures


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("client", ["managed", "tls_cluster", "threads_client"], indirect=True)
def test_method_result_is_equal_on_every_client(client, method, paths, tmp_path, caplog):
    if method not in EXPECTED:
        with dask.config.set(scheduler="synchronous"):
            EXPECTED[method] = run(method, paths, tmp_path / "inline")
    expected, expected_failures = EXPECTED[method]
    client = client[1] if isinstance(client, tuple) else client
    with client.as_current():
        result, failures = run(method, paths, tmp_path / "client", npartitions=7)
    pd.testing.assert_frame_equal(failures, expected_failures)
    if isinstance(result, list):
        assert str(result) == str(expected)
    else:
        (pd.testing.assert_series_equal if result.ndim == 1 else pd.testing.assert_frame_equal)(result, expected)


def test_job_survives_a_joining_and_a_killed_worker(tls_cluster, paths, tmp_path):
    cluster, client = tls_cluster
    started, go = tmp_path / "started", tmp_path / "go"

    def wait_and_read(pixels):
        started.touch()
        while not go.exists():
            time.sleep(0.01)
        return row_of(pixels)

    def disturb():
        assert wait_until(started.exists)
        cluster.worker()
        client.wait_for_workers(3)
        cluster.processes[2].kill()  # the one of one thread, without a nanny
        go.touch()

    many = pd.concat([paths[4:]] * 5)
    thread = threading.Thread(target=disturb)
    with client.as_current():
        thread.start()
        result = many.img.map(wait_and_read, npartitions=25, progress=False)
    thread.join()
    assert result.tolist() == list(range(20)) * 5
    assert result.index.equals(many.index)
    assert wait_until(lambda: len(client.scheduler_info()["workers"]) == 2)


def test_dashboard_metrics_and_spans_are_reported(tls_cluster, paths, home):
    _, client = tls_cluster
    column = pd.Series([f"{k}.png" for k in range(20)] * 2 + ["gone.png"])

    def metrics_and_spans(dask_scheduler):
        metrics = dict(dask_scheduler.cumulative_worker_metrics)
        spans = dask_scheduler.extensions["spans"].spans.values()
        return metrics, [(span.name, span.n_tasks if hasattr(span, "n_tasks") else 0) for span in spans]

    before = client.run_on_scheduler(metrics_and_spans)[0]
    with client.as_current(), pytest.warns(UnreadableImageWarning):
        column.img.load_resized(8, npartitions=4, progress=False)
    nbytes = sum((home / name).stat().st_size for name in column[:-1])

    def increase(*metric):
        now = client.run_on_scheduler(metrics_and_spans)[0]
        return now.get(("execute", "load_resized", *metric), 0) - before.get(("execute", "load_resized", *metric), 0)

    assert wait_until(lambda: increase("rows", "count") == 41)  # heartbeats bring them
    assert increase("read", "bytes") == nbytes
    assert increase("failures", "count") == 1
    assert min(increase(stage, "seconds") for stage in ("read", "decode", "resize")) > 0
    client.submit(sum, [1, 2], pure=False).result()
    names = [name for name, _ in client.run_on_scheduler(metrics_and_spans)[1]]
    assert ("pandas_imgproc", "load_resized") in names
    assert names[-1] == ("default",), "the user's task is outside of the job's span"
    assert "span" not in dask.get_annotations()


def test_function_with_a_module_missing_on_workers_raises_cluster_error(tls_cluster, paths, monkeypatch):
    _, client = tls_cluster
    module = types.ModuleType("only_local")
    exec("def mean(pixels): return float(pixels.mean())", vars(module))
    monkeypatch.setitem(sys.modules, "only_local", module)
    with client.as_current(), pytest.raises(ClusterError, match=r"No module named 'only_local'; its Python, .* needs"):
        paths.img.map(module.mean, npartitions=2)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A scheduler without workers, and without TLS."""
    cluster = SubprocessCluster(tmp_path_factory.mktemp("bare"))
    try:
        with cluster.client(set_as_default=False) as client:
            yield cluster, client
    finally:
        cluster.close()


def test_worker_without_the_package_raises_cluster_error(bare, paths, tmp_path):
    cluster, client = bare
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pandas_imgproc'] = None\n")
    worker = cluster.worker(PYTHONPATH=str(tmp_path))
    with client.as_current(), pytest.raises(ClusterError) as raised:
        paths.img.load_resized(8, npartitions=4)
    assert "cannot import pandas_imgproc" in str(raised.value)
    assert f"on host {os.uname().nodename!r}" in str(raised.value)
    assert f"{sys.executable} -m pip install pandas-imgproc==" in str(raised.value)
    assert "Traceback" not in cluster.log()
    worker.kill()
    assert wait_until(lambda: not client.scheduler_info()["workers"])


def test_worker_without_a_package_of_the_engine_raises(bare, paths, tmp_path):
    cluster, client = bare
    lacks = "sys.modules['cykooz_resizer'] = sys.modules['simplejpeg'] = None"
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{lacks}\n")
    worker = cluster.worker(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    with client.as_current():
        with pytest.raises(MissingExtraError, match=r"the caller's engine='simd', on host .* needs cykooz-resizer"):
            paths.img.load_resized(8, npartitions=4)
        with pytest.raises(MissingExtraError, match=r"the caller's strict=True, on host .* needs simplejpeg"):
            paths.img.load_resized(8, npartitions=4, engine="pillow", strict=True)
        assert paths.img.load_resized(8, npartitions=4, engine="pillow", errors="coerce").notna().any()
        assert paths.img.verify(npartitions=4)["kind"].isna().any()
    worker.kill()
    assert wait_until(lambda: not client.scheduler_info()["workers"])


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="another host is simulated with unshare, by root"
)
def test_missing_file_message_names_the_remote_host(bare, home, tmp_path):
    """A worker with another host name, on which one directory is empty, and another has files only there."""
    cluster, client = bare
    only_local, only_remote = tmp_path / "only-local", tmp_path / "only-remote"
    for folder in (only_local, only_remote):
        folder.mkdir()
    row_image(7).save(only_local / "7.png")
    able = subprocess.run(["unshare", "--uts", "--mount", "true"], capture_output=True, check=False).returncode == 0
    if not able:
        pytest.skip("this container may not unshare")
    begin = (
        f"hostname node-7 && mount -t tmpfs none {only_remote} && cp {only_local}/* {only_remote} && "
        f'mount -t tmpfs none {only_local} && exec "$@"'
    )
    worker = cluster.worker(command=("unshare", "--uts", "--mount", "sh", "-c", begin, "sh"))
    local = pd.Series([f"{only_local}/7.png"] * 30)
    remote = pd.Series([f"{only_remote}/7.png"] * 30)
    with client.as_current():
        with pytest.raises(NoReadableImageError) as raised:
            local.img.load_resized(8, npartitions=3)
        assert "there is no such file on host 'node-7'" in str(raised.value)
        assert f"It is there on this host, {os.uname().nodename!r}: workers must see the same files" in str(
            raised.value
        )
        # The files of the first rows are missing on this host.
        assert remote.img.load_resized(8, progress=False).notna().all()
    worker.kill()
    assert wait_until(lambda: not client.scheduler_info()["workers"])


@pytest.mark.parametrize("signal_number", [signal.SIGSTOP, signal.SIGKILL])
def test_unresponsive_scheduler_raises_cluster_error(bare, paths, caplog, signal_number):
    cluster, client = bare
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    waits = lambda: "waiting for workers: the cluster at tcp://" in caplog.text  # noqa: E731
    thread = threading.Thread(target=lambda: (wait_until(waits), cluster.scheduler.send_signal(signal_number)))
    thread.start()
    with (
        client.as_current(),
        dask.config.set({"pandas-imgproc.scheduler-timeout": 1}),
        pytest.raises(ClusterError, match=r"the cluster at tcp://127.0.0.1:\d+ (is gone|went away)"),
    ):
        paths.img.load_resized(8, npartitions=4)
    thread.join()
    cluster.scheduler.send_signal(signal.SIGCONT)


def test_cluster_without_workers_raises_cluster_error(tmp_path, paths):
    options = {"processes": False, "dashboard_address": "127.0.0.1:0", "local_directory": tmp_path}
    started = tmp_path / "started"

    def slow_row(pixels):
        started.touch()
        return _slow_row(pixels)

    with LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster, Client(cluster):
        thread = threading.Thread(target=lambda: (wait_until(started.exists), cluster.scale(0)))
        thread.start()
        with (
            dask.config.set({"pandas-imgproc.no-workers-timeout": 0.5}),
            pytest.raises(ClusterError, match=r"the cluster at .* has had no worker for 0.5 seconds"),
        ):
            pd.concat([paths[4:]] * 500).img.map(slow_row, npartitions=1000, progress=False)
        thread.join()


def test_adaptive_cluster_without_workers_scales_up(paths, tmp_path):
    with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0",
            local_directory=tmp_path,
        ) as cluster,
        Client(cluster),
    ):  # fmt: skip
        cluster.adapt(minimum=0, maximum=3, interval="50ms", target_duration="10ms")
        many = pd.concat([paths[4:]] * 10)
        result = many.img.map(_slow_row, npartitions=50, progress=False)
        assert result.tolist() == list(range(20)) * 10


def _slow_row(pixels):
    time.sleep(0.002)
    return row_of(pixels)
