"""The user's own client, of any kind: clusters started by hand, threads, workers that come, go, or lack something."""

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
from cluster_subprocess import HandStarted
from dask.sizeof import sizeof
from distributed import Client, LocalCluster, Security
from image_factory import row_image, row_of

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc import ClusterError, NoReadableImageError, UnreadableImageWarning

FILES = ["red.png", "gone.png", "half.jpg", None, *(f"{k}.png" for k in range(20))]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The caller's folder, which no worker was started in."""
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
    """Relative paths: they start from the caller's folder, wherever workers were started."""
    monkeypatch.chdir(home)
    return pd.Series(FILES, index=[f"row {k % 9}" for k in range(len(FILES))], name="path")


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """A scheduler and two workers, with TLS; one has two threads and a nanny."""
    folder = tmp_path_factory.mktemp("by-hand")
    temporary, options, files = Security.temporary(), [], {}
    for name in ("ca_file", "client_cert", "client_key"):
        path = folder / name
        path.write_text(getattr(temporary, f"tls_{name}"))
        files[f"tls_{name}"] = str(path)
        options += [f"--tls-{name.removeprefix('client_').replace('_', '-')}", str(path)]
    cluster = HandStarted(folder, "--protocol", "tls", *options)
    try:
        cluster.worker("--nthreads", "2")
        cluster.worker()
        with cluster.client(security=Security(**files, require_encryption=True), set_as_default=False) as client:
            client.wait_for_workers(2)
            yield cluster, client
    finally:
        cluster.close()


@pytest.fixture
def on_threads(tmp_path):
    with Client(
        processes=False, n_workers=1, threads_per_worker=4, dashboard_address="127.0.0.1:0", local_directory=tmp_path
    ) as client:
        yield client


@pytest.fixture
def client(request, own_cluster):
    kind = request.param
    return own_cluster if kind == "own" else request.getfixturevalue(kind)


def _mean(pixels):
    return float(pixels.mean())


def _jitter(pixels):
    if dask.config.get("scheduler", None) != "synchronous":
        sizeof(list(range(20)))  # as Dask does in another thread of a worker: it draws, to guess a size
    return (pixels * np.random.rand() + random.random() * 5).astype("uint8")  # noqa: NPY002


def _read_again(_, out):
    return pandas_imgproc.read_result(out)


METHODS = {
    "load_resized": lambda s, to, **how: s.img.load_resized((20, 12), **how),
    "augment": lambda s, to, **how: s.img.augment(_jitter, n=3, size=8, seed=5, **how),
    "map": lambda s, to, **how: s.img.map(_mean, **how),
    "metadata": lambda s, to, **how: s.img.metadata(**how),
    "features": lambda s, to, **how: s.img.features(**how),
    "hash": lambda s, to, **how: s.img.hash(**how),
    "issues": lambda s, to, **how: s.img.issues(**how),
    "duplicate_groups": lambda s, to, **how: s.img.duplicate_groups(**how),
    "verify": lambda s, to, **how: s.img.verify(**how),
    "save_thumbnails": lambda s, to, **how: s.img.save_thumbnails(f"{to}/thumbs", size=8, **how),
    "save_resized": lambda s, to, **how: s.img.save_resized(f"{to}/{{stem}}.png", size=9, **how),
    "download": lambda s, to, **how: s.img.download(f"{to}/copies", **how),
    "out": lambda s, to, **how: _read_again(s.img.load_resized(8, out=f"{to}.parquet", **how), f"{to}.parquet"),
}
ANSWERS: dict[str, object] = {}


def answer(method, paths, to, **how):
    """What a method gives, and the files that it made, without the name of their folder."""
    how = how if method == "verify" else {**how, "errors": "coerce"}
    given = METHODS[method](paths, to, progress=False, **how)
    failures = given.img.failures
    if given.dtypes is not None and hasattr(given, "dtype") and str(given.dtype).startswith("image"):
        given = [None if cell is pd.NA else np.asarray(cell).tolist() for cell in given]
    elif method in ("save_thumbnails", "save_resized", "download"):
        given = [name if pd.isna(name) else (Path(name).name, Path(name).read_bytes()) for name in given]
    return given, failures


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("client", ["own", "by_hand", "on_threads"], indirect=True)
def test_every_method_is_the_same_on_every_client(client, method, paths, tmp_path, caplog):
    if method not in ANSWERS:
        with dask.config.set(scheduler="synchronous"):
            ANSWERS[method] = answer(method, paths, tmp_path / "none")
    expected, why = ANSWERS[method]
    client = client[1] if isinstance(client, tuple) else client
    with client.as_current():
        given, failures = answer(method, paths, tmp_path / "some", npartitions=7)
    pd.testing.assert_frame_equal(failures, why)
    if isinstance(given, list):
        assert str(given) == str(expected)
    else:
        (pd.testing.assert_series_equal if given.ndim == 1 else pd.testing.assert_frame_equal)(given, expected)


def test_a_worker_joins_and_another_is_killed(by_hand, paths, tmp_path):
    cluster, client = by_hand
    begun, go = tmp_path / "begun", tmp_path / "go"

    def told(pixels):
        begun.touch()
        while not go.exists():
            time.sleep(0.01)
        return row_of(pixels)

    def disturb():
        assert wait_until(begun.exists)
        cluster.worker()
        client.wait_for_workers(3)
        cluster.processes[2].kill()  # the one of one thread, without a nanny
        go.touch()

    many = pd.concat([paths[4:]] * 5)
    thread = threading.Thread(target=disturb)
    with client.as_current():
        thread.start()
        given = many.img.map(told, npartitions=25, progress=False)
    thread.join()
    assert given.tolist() == list(range(20)) * 5
    assert given.index.equals(many.index)
    assert wait_until(lambda: len(client.scheduler_info()["workers"]) == 2)


def test_what_the_dashboard_is_told(by_hand, paths, home):
    _, client = by_hand
    whole = pd.Series([f"{k}.png" for k in range(20)] * 2 + ["gone.png"])

    def told(dask_scheduler):
        metrics = dict(dask_scheduler.cumulative_worker_metrics)
        spans = dask_scheduler.extensions["spans"].spans.values()
        return metrics, [(span.name, span.n_tasks if hasattr(span, "n_tasks") else 0) for span in spans]

    before = client.run_on_scheduler(told)[0]
    with client.as_current(), pytest.warns(UnreadableImageWarning):
        whole.img.load_resized(8, npartitions=4, progress=False)
    read = sum((home / name).stat().st_size for name in whole[:-1])

    def more(*what):
        now = client.run_on_scheduler(told)[0]
        return now.get(("execute", "load_resized", *what), 0) - before.get(("execute", "load_resized", *what), 0)

    assert wait_until(lambda: more("rows", "count") == 41)  # heartbeats bring them
    assert more("read", "bytes") == read
    assert more("failures", "count") == 1
    assert min(more(stage, "seconds") for stage in ("read", "decode", "resize")) > 0
    client.submit(sum, [1, 2], pure=False).result()
    names = [name for name, _ in client.run_on_scheduler(told)[1]]
    assert ("pandas_imgproc", "load_resized") in names
    assert names[-1] == ("default",), "the user's own task is in none of ours"
    assert "span" not in dask.get_annotations()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A scheduler without workers, and without TLS."""
    cluster = HandStarted(tmp_path_factory.mktemp("bare"))
    try:
        with cluster.client(set_as_default=False) as client:
            yield cluster, client
    finally:
        cluster.close()


def test_a_worker_that_lacks_the_package_says_so_in_a_sentence(bare, paths, tmp_path):
    cluster, client = bare
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pandas_imgproc'] = None\n")
    worker = cluster.worker(PYTHONPATH=str(tmp_path))
    with client.as_current(), pytest.raises(ClusterError) as told:
        paths.img.load_resized(8, npartitions=4)
    assert "cannot import pandas_imgproc" in str(told.value)
    assert f"on host {os.uname().nodename!r}" in str(told.value)
    assert f"{sys.executable} -m pip install pandas-imgproc==" in str(told.value)
    assert "Traceback" not in cluster.log()
    worker.kill()
    assert wait_until(lambda: not client.scheduler_info()["workers"])


def test_a_function_whose_module_is_missing_there(bare, paths, monkeypatch):
    cluster, client = bare
    module = types.ModuleType("only_here")
    exec("def mean(pixels): return float(pixels.mean())", vars(module))
    monkeypatch.setitem(sys.modules, "only_here", module)
    worker = cluster.worker()
    with client.as_current(), pytest.raises(ClusterError, match=r"No module named 'only_here'; its Python, .* needs"):
        paths.img.map(module.mean, npartitions=2)
    worker.kill()
    assert wait_until(lambda: not client.scheduler_info()["workers"])


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="another host is made with unshare, by root")
def test_the_host_that_looked_is_named(bare, home, tmp_path):
    """A worker with another name, that sees other files: one folder is empty there, another is full only there."""
    cluster, client = bare
    only_here, only_there = tmp_path / "only-here", tmp_path / "only-there"
    for folder in (only_here, only_there):
        folder.mkdir()
    row_image(7).save(only_here / "7.png")
    able = subprocess.run(["unshare", "--uts", "--mount", "true"], capture_output=True, check=False).returncode == 0
    if not able:
        pytest.skip("this container may not unshare")
    begin = (
        f"hostname node-7 && mount -t tmpfs none {only_there} && cp {only_here}/* {only_there} && "
        f'mount -t tmpfs none {only_here} && exec "$@"'
    )
    worker = cluster.worker(command=("unshare", "--uts", "--mount", "sh", "-c", begin, "sh"))
    hidden, there = pd.Series([f"{only_here}/7.png"] * 30), pd.Series([f"{only_there}/7.png"] * 30)
    with client.as_current():
        with pytest.raises(NoReadableImageError) as told:
            hidden.img.load_resized(8, npartitions=3)
        assert "there is no such file on host 'node-7'" in str(told.value)
        assert f"It is there on this host, {os.uname().nodename!r}: workers must see the same files" in str(told.value)
        # The first rows are tried here, where the files are not.
        assert there.img.load_resized(8, progress=False).notna().all()
    worker.kill()
    assert wait_until(lambda: not client.scheduler_info()["workers"])


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_scheduler_that_is_gone_is_an_error(bare, paths, caplog, how):
    cluster, client = bare
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    waits = lambda: "waiting for workers: the cluster at tcp://" in caplog.text  # noqa: E731
    thread = threading.Thread(target=lambda: (wait_until(waits), cluster.scheduler.send_signal(how)))
    thread.start()
    with (
        client.as_current(),
        dask.config.set({"pandas-imgproc.scheduler-timeout": 1}),
        pytest.raises(ClusterError, match=r"the cluster at tcp://127.0.0.1:\d+ (is gone|went away)"),
    ):
        paths.img.load_resized(8, npartitions=4)
    thread.join()
    cluster.scheduler.send_signal(signal.SIGCONT)


def test_an_adaptive_cluster_starts_from_nothing(paths, tmp_path):
    with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0",
            local_directory=tmp_path,
        ) as cluster,
        Client(cluster),
    ):  # fmt: skip
        cluster.adapt(minimum=0, maximum=3, interval="50ms", target_duration="10ms")
        many = pd.concat([paths[4:]] * 10)
        given = many.img.map(_slow_row, npartitions=50, progress=False)
        assert given.tolist() == list(range(20)) * 10


def _slow_row(pixels):
    time.sleep(0.002)
    return row_of(pixels)
