"""Cluster of subprocesses: ``dask scheduler`` and ``dask worker``, each in a directory that no other process has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from distributed import Client

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"


class SubprocessCluster:
    """Cluster of a scheduler and of workers that join and leave."""

    def __init__(self, folder: Path, *options: str, dashboard: bool = False, **env: str):
        self.folder, self.options, self.processes = folder, options, []
        self.file = folder / "scheduler.json"
        where = ["--dashboard-address", "127.0.0.1:0"] if dashboard else ["--no-dashboard"]
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(self.file), *where, **env)

    def worker(
        self, *options: str, command: tuple[str, ...] = (), host: str | None = HOST, **env: str
    ) -> subprocess.Popen:
        """Start a worker of one thread; `Client.wait_for_workers` waits for it."""
        plain = options or ("--nthreads", "1", "--no-nanny")
        known = ("--scheduler-file", str(self.file), "--local-directory", str(self.folder), "--no-dashboard")
        return self._start("worker", *known, *plain, command=command, host=host, **env)

    def _start(
        self, role: str, *options: str, command: tuple[str, ...] = (), host: str | None = HOST, **env: str
    ) -> subprocess.Popen:
        home = self.folder / f"{role}-{len(self.processes)}"
        home.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        words = [*command, sys.executable, "-m", "dask", role, *self.options, *options]
        words += [] if host is None else ["--host", host]
        with (home / "log").open("w") as log:
            process = subprocess.Popen(words, cwd=home, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def log(self) -> str:
        """Return the output of all processes."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*/log")))

    @property
    def address(self) -> str:
        """Address of the scheduler, once it has started."""
        return json.loads(self.file.read_text())["address"]

    def client(self, **options) -> Client:
        """Return a client, once the scheduler has started; of another `address`, that of a proxy for example."""
        return Client(**{"scheduler_file": str(self.file)} if "address" not in options else {}, **options)

    def close(self) -> None:
        """Kill all processes."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
