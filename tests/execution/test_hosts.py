"""Calls on several hosts, whose addresses, mounts and names are their own: see `hosts`."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hosts import Network, reason_against_hosts
from image_factory import row_image, row_of

from conftest import wait_until

N = 24
SIZE = (24, 16)

cloudpickle.register_pickle_by_value(sys.modules[__name__])

OVERLAY = "mount -t overlay overlay -o lowerdir={0}/lower,upperdir={0}/shared,workdir={0}/work {0}/shared"
"""Mount of the shared folder with another number of the device, as a network file system has on each host."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A file system with numbered images, and with the folders of which hosts mount others in their place."""
    reason = reason_against_hosts()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    for name in ("images", "shared", "own", "lower", "work", "seen"):
        (folder / name).mkdir()
    for k in range(N):
        row_image(k, SIZE).save(folder / "images" / f"{k}.png")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def network(disk):
    """A caller and two workers: with the folder `shared` in common, but not `own`."""
    begin = f"mount -t tmpfs none {disk}/own"
    with Network(disk) as started:
        started.worker("near", begin)
        started.worker("renumbered", f"{begin} && {OVERLAY.format(disk)}")
        started.call(wait_for_workers, 2)
        yield started


def wait_for_workers(n):
    from distributed import get_client

    get_client().wait_for_workers(n, timeout=100)


def paths_in(disk, n=N):
    return pd.Series([f"{disk}/images/{k % N}.png" for k in range(n)])


def save(disk, out, worker):
    """Save images on the caller, with one worker; return the rows of the result, and which values were returned."""
    import dask

    from pandas_imgproc import read_result
    from pandas_imgproc.execution import JobState

    returned, finish = [], JobState.finish
    JobState.finish = lambda state, part: returned.append(part.values is not None) or finish(state, part)
    paths, options = paths_in(disk), {"npartitions": 3, "progress": False}
    try:
        with dask.annotate(workers=worker):
            if out is not None and out.endswith("files"):
                images = paths.img.save_resized(out, size=SIZE, **options)
            else:
                images = paths.img.load_resized(SIZE, out=out, **options)
    finally:
        JobState.finish = finish
    if out is not None:
        images = images.img.load_resized(SIZE) if out.endswith("files") else read_result(out)
    return [row_of(np.asarray(image)) for image in images], returned


@pytest.mark.parametrize("worker", ["near", "renumbered"])
def test_hosts_write_to_shared_folders_and_return_the_rest(network, disk, worker):
    host = network.hosts[worker]
    root = Path(f"/proc/{host.first.pid}/root{disk}")  # as the host sees it
    is_renumbered = (root / "shared").stat().st_dev != (disk / "shared").stat().st_dev
    assert is_renumbered == (worker == "renumbered")
    results = [f"{folder}/{worker}-{name}" for folder in ("shared", "own") for name in ("x.npy", "x.parquet", "files")]
    for name in (None, *results):
        out = name and f"{disk}/{name}"
        rows, returned = network.call(save, disk, out, network.address(worker))
        assert rows == list(range(N)), out
        assert returned == [not out or "/shared/" not in out] * 3, out
    assert not list((root / "own").iterdir())
    assert not [path for path in disk.rglob("*") if path.name.endswith("lease")]


def map_hosts(disk, n, name):
    """Map a function that takes 20 ms; return the host and the number of each row, and hosts and times of partitions.

    Rows add a byte to a file of their host, and do not end on the host `lost`. While there is a file named `busy`, the
    caller does nothing.
    """
    from pandas_imgproc.execution import JobState

    def row(pixels):
        host = socket.gethostname()
        with seen(disk, name, host).open("ab") as file:
            file.write(b".")
        time.sleep(100 if host == "lost" else 0.02)
        return f"{host} {row_of(pixels)}"

    ends, finish = [], JobState.finish

    def record(state, part):
        ends.append((part.values[0].split()[0], time.monotonic()))
        finish(state, part)
        while (disk / "busy").exists():
            time.sleep(0.02)

    JobState.finish = record
    try:
        result = paths_in(disk, n).img.map(row, npartitions=n // 10, progress=False)
    finally:
        JobState.finish = finish
    return [text.split() for text in result], ends


def seen(disk, name, host):
    return disk / "seen" / f"{name}-{host}"


def wait_for_rows(disk, name, host, n=1):
    """Wait until a host has begun with n more rows."""
    path = seen(disk, name, host)
    before = path.stat().st_size if path.exists() else 0
    assert wait_until(lambda: path.exists() and path.stat().st_size >= before + n)


def test_host_that_joins_and_is_killed_costs_no_row(network, disk):
    network.send(map_hosts, disk, 400, "kill")
    wait_for_rows(disk, "kill", "near")
    network.worker("lost")
    wait_for_rows(disk, "kill", "lost")
    network.kill("lost")
    rows, _ = network.receive()
    assert [int(row) for _, row in rows] == [k % N for k in range(400)]
    assert {host for host, _ in rows} == {"near", "renumbered"}


def test_host_that_is_cut_off_delays_no_other(network, disk):
    network.send(map_hosts, disk, 500, "cut")
    wait_for_rows(disk, "cut", "renumbered", 60)  # many partitions are outstanding
    (disk / "busy").touch()
    wait_for_rows(disk, "cut", "renumbered", 15)  # a result of the host is finished
    network.cut("renumbered")
    (disk / "busy").unlink()
    start = time.monotonic()
    wait_for_rows(disk, "cut", "near", 200)  # four seconds at least
    stop = time.monotonic()
    network.mend("renumbered")
    rows, ends = network.receive()
    assert [int(row) for _, row in rows] == [k % N for k in range(500)]
    times = [start, *(end for host, end in ends if host == "near" and start < end < stop), stop]
    assert max(np.diff(times)) < 2
