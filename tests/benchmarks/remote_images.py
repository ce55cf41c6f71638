"""Remote reads: throughput behind 50 ms of latency, an unreliable server, the memory of a worker.

    python tests/benchmarks/remote_images.py latency [FOLDER] [--size 224] [--repeat 5]
    python tests/benchmarks/remote_images.py unreliable [--seeds 0 1 2]
    python tests/benchmarks/remote_images.py memory

The HTTP server runs in another process, on loopback, and shares the cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from http_server import HTTPServer, by_seed
from image_factory import encoded, image_bytes, row_of, scene

import pandas_imgproc


def serve(pipe, files: dict[str, bytes]) -> None:
    """Run the HTTP server, with the settings that the pipe sends, until None."""
    with HTTPServer(files) as http_server:
        pipe.send(http_server.url())
        while (message := pipe.recv()) is not None:
            if message == "n_requests":
                pipe.send(dict(http_server.n_requests_by_path))
            else:
                http_server.reset()
                latency, seed, share, permanent = message
                http_server.latency, http_server.fault = latency, by_seed(seed, share, permanent)
                pipe.send(None)


class Server:
    """HTTP server in another process."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._pipe, other = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(other, files))
        self._process.start()
        self.url = self._pipe.recv()

    def send(self, message: object) -> object:
        self._pipe.send(message)
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def photos(folder: Path | None, n: int) -> list[bytes]:
    """Return n photographs: those of a folder, repeated, or generated ones of 110 KB."""
    if folder is None:
        return [encoded(scene(640, 427, seed), "JPEG", quality=90) for seed in range(20)] * (n // 20)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    return [path.read_bytes() for path in islice(cycle(paths), n)]


def latency(options: argparse.Namespace) -> None:
    data = photos(options.folder, options.images)
    print(f"{len(data)} photos of {sum(map(len, data)) / len(data) / 1000:.0f} KB to {options.size} pixels")
    names = pd.Series([f"{k}.jpg" for k in range(len(data))])
    server = Server({f"{k}.jpg": photo for k, photo in enumerate(data)})
    with tempfile.TemporaryDirectory() as folder:
        for name, photo in zip(names, data, strict=True):
            (Path(folder) / name).write_bytes(photo)
        pandas_imgproc.get_client(n_workers=2)
        server.send((0.05, 0, {}, {}))

        def seconds(root: str, scheduler: str, npartitions: int | None, **config: object) -> float:
            started = time.perf_counter()
            with dask.config.set({"scheduler": scheduler, **{f"pandas-imgproc.{k}": v for k, v in config.items()}}):
                names.img.load_resized(options.size, root=root, progress=False, npartitions=npartitions)
            return time.perf_counter() - started

        for scheduler, npartitions in (
            ("distributed", None),
            ("distributed", 2),
            ("distributed", 4),
            ("threads", None),
        ):
            turns = [
                (seconds(folder, scheduler, npartitions), seconds(server.url, scheduler, npartitions))
                for _ in range(options.repeat + 1)
            ][1:]
            ratio = statistics.median(local / remote for local, remote in turns)
            local, remote = (statistics.median(turn[k] for turn in turns) for k in (0, 1))
            print(
                f"{scheduler}, npartitions={npartitions}: local {len(data) / local:.0f}/s, "
                f"remote {len(data) / remote:.0f}/s, ratio {ratio:.2f}"
            )
        local = seconds(folder, "distributed", None)
        one = seconds(server.url, "distributed", None, **{"max-connections": 1})
        print(f"one request at a time: remote {len(data) / one:.0f}/s, ratio {local / one:.2f}")
    server.close()


def unreliable(options: argparse.Namespace) -> None:
    n, server = 1000, Server({f"{k}.jpg": image_bytes(k) for k in range(1000) if k != 7})
    names = pd.Series([f"{k}.jpg" for k in range(n)])
    for seed in options.seeds:
        faults = {"503": 0.1, "reset": 0.05, "truncated": 0.05}
        server.send((0.0, seed, faults, {"7.jpg": "404", "9.jpg": "503"}))
        with dask.config.set({"scheduler": "distributed"}):
            started = time.perf_counter()
            column = names.img.load_resized(8, root=server.url, errors="coerce", progress=False)
        took = time.perf_counter() - started
        valid = column.dropna()
        right = sum(row_of(image) == k for k, image in zip(valid.index, valid.img.to_numpy(), strict=True))
        n_requests = sum(server.send("n_requests").values())
        kinds = column.img.failures["kind"].to_dict()
        print(f"seed {seed}: {right} rows right, failures {kinds}, {n_requests / n:.2f} x the requests, {took:.1f} s")
    server.close()


def memory(options: argparse.Namespace) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), dtype=np.uint8)
    from PIL import Image

    photo = encoded(Image.fromarray(noise), "PNG")
    n, server = 200, Server({f"{k}.png": photo for k in range(200)})
    server.send((0.05, 0, {}, {}))
    client = pandas_imgproc.get_client(n_workers=2)
    workers = [psutil.Process(pid) for pid in client.run(lambda: __import__("os").getpid()).values()]
    names = pd.Series([f"{k}.png" for k in range(n)])
    with dask.config.set({"scheduler": "distributed"}):
        names[:8].img.load_resized(64, root=server.url, progress=False)
        before = [worker.memory_info().rss for worker in workers]
        client.run(reset_peak)
        names.img.load_resized(64, root=server.url, progress=False)
    peaks = client.run(peak).values()
    growth = [f"{(after - first) / 1e6:.0f} MB" for first, after in zip(before, peaks, strict=True)]
    print(f"{n} images of {len(photo) / 1e6:.1f} MB: workers grew by at most {growth}; prefetch-bytes is 64 MB")
    server.close()


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    return int(next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x).split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=["latency", "unreliable", "memory"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    {"latency": latency, "unreliable": unreliable, "memory": memory}[options.benchmark](options)
    pandas_imgproc.close()


if __name__ == "__main__":
    main()
