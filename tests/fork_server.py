"""Process that has imported this package and Dask, and runs scripts in forks of itself: imports take two seconds.

As a script it is that process. A line of its input is a request in JSON: to run a script, or to wait for its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass
class Script:
    """Script that runs in a session of its own: its process is the leader of all that it starts."""

    server: ForkServer
    pid: int
    out: Path
    err: Path

    def wait(self) -> int:
        """Return the exit code, which is negative for a signal, once the process has ended."""
        return self.server._ask({"pid": self.pid})


class ForkServer:
    """Starts the process, and asks it to run scripts."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        # Bokeh's import takes a second.
        env = os.environ | {"PYTHONPATH": path, "DASK_PANDAS_IMGPROC__DASHBOARD": "off"}
        self._process = subprocess.Popen([sys.executable, __file__], stdin=-1, stdout=-1, text=True, env=env)
        self._n_scripts = 0

    def run(self, folder: Path, code: str, **env: str) -> Script:
        """Run a script in a folder, with variables in its environment, which come too late for those of Dask.

        Its output and its errors are files in the folder.
        """
        self._n_scripts += 1
        out, err = (folder / f"{name}-{self._n_scripts}" for name in ("out", "err"))
        for path in (out, err):
            path.touch()
        request = {"folder": folder, "code": textwrap.dedent(code), "env": env, "out": out, "err": err}
        return Script(self, self._ask(request), out, err)

    def close(self) -> None:
        """End the process, which does not wait for its scripts."""
        self._process.communicate()

    def _ask(self, request: dict) -> int:
        self._process.stdin.write(json.dumps(request, default=str) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def run_fork(request: dict) -> None:
    """Run a script in this process, a fork of the one that serves."""
    os.setsid()
    for fd, name in enumerate(("/dev/null", request["out"], request["err"])):
        os.dup2(os.open(name, os.O_RDWR), fd)
    os.chdir(request["folder"])
    os.environ.update(request["env"])
    tempfile.tempdir = None
    exec(compile(request["code"], "<script>", "exec"), {"__name__": "__main__"})


def serve() -> None:
    import distributed  # noqa: F401

    import pandas_imgproc  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["pid"], 0)[1])
        elif not (answer := os.fork()):
            return run_fork(request)
        print(answer, flush=True)
    return None


if __name__ == "__main__":
    serve()
