"""Hosts on this machine: namespaces of network, mounts, processes and names, on one switch that leads nowhere else.

A host has its own `/tmp`, `/dev/shm`, host name and process ids, and no default route. Its processes end with it, it
ends with the test, also if that is killed: the first process waits for the end of a pipe. The caller is a host too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cloudpickle
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parent.parent
UNSHARE = ("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc")
TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}  # and their Debian packages

SERVE = "import hosts; hosts.serve_calls()"


def reason_against_hosts() -> str | None:
    """Return the reason why this machine cannot have hosts, if there is one."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts are network namespaces, which root makes on Linux"
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        return f"hosts need the packages {sorted(missing)}; .ci/run installs them"
    probe = (
        "mount -t tmpfs none /dev/shm && ip link add port type veth peer name eth0 && ip link add bridge0 type bridge"
    )
    tried = subprocess.run([*UNSHARE, "sh", "-c", probe], capture_output=True, text=True, check=False)
    return f"this machine allows no namespaces: {tried.stderr.strip()}" if tried.returncode else None


class Host:
    """Host that is not connected yet.

    Parameters
    ----------
    name : str
        Host name.
    begin : str
        Shell commands, run first, that mount what only this host sees.
    visible : sequence of Path
        Folders below `/tmp` that the host sees, as this process does.
    """

    def __init__(self, name: str, begin: str = "", visible: Sequence[Path] = ()) -> None:
        self.name = name
        ours = [path for path in map(str, visible) if path.startswith("/tmp/")]
        commands = [
            f"hostname {name}",
            "mount -t tmpfs none /dev/shm",
            "mount --rbind /tmp /mnt",
            "mount -t tmpfs none /tmp",
            *(f"mkdir -p {path} && mount --rbind /mnt/{path[5:]} {path}" for path in ours),
            "umount -l /mnt",
            "ip link set lo up",
            *filter(None, [begin]),
            "echo ready",
            "exec cat",
        ]
        self._shell = subprocess.Popen(
            [*UNSHARE, "sh", "-c", " && ".join(commands)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._shell.stdout.readline() == b"ready\n"
        (self.first,) = psutil.Process(self._shell.pid).children()
        self._processes: list[subprocess.Popen] = []

    def command(self, *words: str, all_namespaces: bool = True) -> list[str]:
        """Return a command that runs on the host."""
        namespaces = ("--net", "--mount", "--uts", "--ipc", "--pid") if all_namespaces else ("--net",)
        return ["nsenter", *namespaces, "--target", str(self.first.pid), "--", *words]

    def start(self, *words: str, **options: Any) -> subprocess.Popen:
        """Start a process on the host, in its `/tmp`."""
        process = subprocess.Popen(self.command("env", "-C", "/tmp", *words), **options)
        self._processes.append(process)
        return process

    def kill(self) -> None:
        """Kill all processes of the host: the kernel does so when the first one ends."""
        self._shell.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            self.first.kill()
        for process in [*self._processes, self._shell]:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


class Network:
    """Hosts on one switch, of which the first one has the scheduler and the caller; as a context manager.

    Parameters
    ----------
    folder : Path
        Folder that all hosts see.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._visible = [folder, ROOT, Path(sys.prefix), Path(sys.base_prefix)]
        path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._env = {**keep, "PYTHONPATH": path}
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        self._switch = Host("switch")
        self._ip(self._switch, "link add name bridge0 type bridge", "link set bridge0 up")
        try:
            caller = self.add("caller")
            self._scheduler = self._dask(caller, "scheduler", "--host", self.address("caller"), "--port", "8786")
            with (self.folder / "caller.log").open("w") as log:
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
                self._caller = caller.start(sys.executable, "-c", SERVE, **pipes, env=self._env)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in [*self.hosts.values(), self._switch]:
            host.kill()

    def add(self, name: str, begin: str = "") -> Host:
        """Start a host, and connect it."""
        self.hosts[name] = host = Host(name, begin, self._visible)
        port = self._port(name)
        self._ip(self._switch, f"link add {port} type veth peer name eth0 netns {host.first.pid}")
        self._ip(self._switch, f"link set {port} master bridge0", f"link set {port} up")
        self._ip(host, f"address add {self.address(name)}/24 dev eth0", "link set eth0 up")
        return host

    def worker(self, name: str, begin: str = "") -> None:
        """Start a worker of one thread on a new host, or on one that was added."""
        host = self.hosts[name] if name in self.hosts else self.add(name, begin)
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", "/tmp", "--host", self.address(name))
        self._dask(host, "worker", f"tcp://{self.address('caller')}:8786", *options)

    def cut(self, name: str) -> None:
        """Cut the link of a host: no connection is closed."""
        self._ip(self._switch, f"link set {self._port(name)} down")

    def mend(self, name: str) -> None:
        """Mend the link of a host."""
        self._ip(self._switch, f"link set {self._port(name)} up")

    def kill(self, name: str) -> None:
        """Kill a host."""
        self.hosts[name].kill()

    def address(self, name: str) -> str:
        """Return the address of a host."""
        return f"10.0.0.{1 + list(self.hosts).index(name)}"

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return the value of a function that runs on the caller, or raise its error.

        The standard output of the function is not that of the test.
        """
        self.send(function, *args)
        return self.receive()

    def send(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function on the caller; `receive` waits for it."""
        cloudpickle.dump((function, args), self._caller.stdin)
        self._caller.stdin.flush()

    def receive(self) -> Any:
        """Return the value of the function that was sent, or raise its error."""
        try:
            value = cloudpickle.load(self._caller.stdout)
        except EOFError:
            raise RuntimeError(f"the caller has ended: {self.log()}") from None
        if isinstance(value, BaseException):
            raise value
        return value

    def log(self) -> str:
        """Return the output of all processes."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def _port(self, name: str) -> str:
        return f"port{list(self.hosts).index(name)}"

    def _ip(self, host: Host, *commands: str) -> None:
        for command in commands:
            subprocess.run(host.command("ip", *command.split(), all_namespaces=False), check=True, capture_output=True)

    def scheduler(self) -> psutil.Process:
        """Return the process of the scheduler: that of the command enters namespaces, and starts it."""
        return psutil.Process(self._scheduler.pid).children()[0]

    def _dask(self, host: Host, role: str, *options: str) -> subprocess.Popen:
        with (self.folder / f"{role}-{host.name}.log").open("a") as log:
            words = (sys.executable, "-m", "dask", role, *options, "--no-dashboard")
            return host.start(*words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env)


def serve_calls() -> None:
    """Call the functions that arrive at the standard input with a client, and write their values or errors."""
    from distributed import Client

    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a function prints
    with Client("tcp://10.0.0.1:8786", timeout="60s"):
        while True:
            try:
                function, args = cloudpickle.load(requests)
            except EOFError:
                return
            try:
                value = function(*args)
            except BaseException as exc:
                value = exc
            cloudpickle.dump(value, responses)
            responses.flush()
