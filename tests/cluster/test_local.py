"""Managed cluster in real processes: its start, its resilience, and its cleanup."""

import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import dask
import psutil
import pytest
from fork_server import ForkServer
from image_factory import row_image

from conftest import cluster_pids, shared_memory, wait_until
from pandas_imgproc import cluster
from pandas_imgproc.cluster.preflight import check_environment, start_error
from pandas_imgproc.errors import ClusterError

ROOT = Path(__file__).parents[2]

# No guard. The body must run once: a worker that ran it again would print again. Classes of __main__ must reach the
# workers.
SCRIPT = """
from pandas_imgproc import cluster

class Shift:
    by = 10
    def __call__(self, x):
        return x + self.by

client = cluster.get_client(n_workers=1)
print(sum(client.gather(client.map(Shift(), range(5)))), flush=True)
"""


def connections(process):
    """Return the sockets of a process; psutil 6 has renamed the method."""
    return process.net_connections() if hasattr(process, "net_connections") else process.connections()


@pytest.fixture
def caller(tmp_path):
    """Start Python in a new process with this package and an empty TMPDIR."""
    started = []

    def run(*args, **options):
        (tmp_path / "tmp").mkdir(exist_ok=True)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        env = os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path / "tmp")}
        env |= {"DASK_PANDAS_IMGPROC__DASHBOARD": "off"} | options.pop("env", {})  # Bokeh's import takes a second
        words = [sys.executable, *args]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        process = subprocess.Popen(words, text=True, env=env, cwd=tmp_path, **pipes)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process, stdin=""):
    out, err = process.communicate(stdin)
    assert (process.returncode, err) == (0, ""), err
    return out


@pytest.fixture(scope="module")
def server():
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def fork(server, tmp_path):
    """Run a script in a fork of a process that has imported this package, with an empty TMPDIR."""
    started = []

    def run(code):
        (tmp_path / "tmp").mkdir(exist_ok=True)
        started.append(server.run(tmp_path, code, TMPDIR=str(tmp_path / "tmp")))
        return started[-1]

    yield run
    for process in started:
        for each in relatives(process.pid):
            each.kill()


def relatives(pid):
    """Return all processes of the session of a process, also orphans."""
    processes = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (OSError, psutil.Error):
            continue
    return processes


class TestStart:
    @pytest.mark.parametrize("launch", ["stdin", "-m"])  # and from a file in `hostile_outcome`
    def test_script_without_guard_runs_once(self, caller, tmp_path, launch):
        (tmp_path / "pkg").mkdir()
        (tmp_path / "pkg" / "script.py").write_text(SCRIPT)
        args = {"stdin": ["-"], "-m": ["-m", "pkg.script"]}[launch]
        assert finish(caller(*args), SCRIPT if launch == "stdin" else "") == "60\n"
        assert not list((tmp_path / "tmp").iterdir())

    def test_worker_reports_before_it_imports_pandas(self, fork):
        script = fork(
            """
            import sys
            from pandas_imgproc import cluster
            print(*cluster.get_client(n_workers=1).run(lambda: "pandas" in sys.modules).values())
            """
        )
        script.wait()
        assert script.out.read_text() == "False\n"

    def test_script_in_notebook_kernel_runs_once(self, tmp_path, monkeypatch):
        pytest.importorskip("ipykernel")
        manager = pytest.importorskip("jupyter_client.manager")
        monkeypatch.setenv("DASK_PANDAS_IMGPROC__DASHBOARD", "off")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        kernels, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
        messages = []
        try:
            reply = client.execute_interactive(SCRIPT, output_hook=messages.append)
            assert reply["content"]["status"] == "ok"
        finally:
            client.stop_channels()
            kernels.shutdown_kernel()
        streams = [m["content"] for m in messages if m["msg_type"] == "stream"]
        assert "".join(s["text"] for s in streams) == "60\n"


@pytest.fixture(scope="module")
def hostile_outcome(tmp_path_factory):
    """Run a file without guard with a hostile configuration, of which a worker is killed once, and log its files.

    Return what the script printed, which is one line if it ran once, and the lines of the log.
    """
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def log(event, args):\n"
        "    if event == 'open' and '.' in str(args[0])[-4:] or event.startswith('tempfile.'):\n"
        f"        fd = os.open({str(folder / 'events')!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "        os.write(fd, f'{event} {args[0]}\\n'.encode())\n"
        "        os.close(fd)\n"
        "sys.addaudithook(log)\n"
    )
    hostile = {
        "SCHEDULER__ALLOWED_FAILURES": "0",
        "SCHEDULER__IDLE_TIMEOUT": "1s",
        "SCHEDULER__WORKER_TTL": "1s",
        "SCHEDULER__NO_WORKERS_TIMEOUT": "1ms",
        "SCHEDULER__CONTACT_ADDRESS": "tls://192.0.2.1:1",
        "DEPLOY__LOST_WORKER_TIMEOUT": "1ms",
        "WORKER__MEMORY__TERMINATE": "0.001",
        "WORKER__MEMORY__TARGET": "0.001",
        "WORKER__PROFILE__ENABLED": "True",
        "WORKER__MULTIPROCESSING_METHOD": "fork",
        "WORKER__DAEMON": "False",
    }
    code = """
        import dask, json, os, psutil, signal, sys
        from pandas_imgproc import cluster
        names = ["worker.memory.terminate", "worker.memory.target", "worker.profile.enabled", "worker.daemon"]
        names = [f"distributed.{name}" for name in names]
        def settings():
            return {name: dask.config.get(name) for name in names}
        before = settings()
        client = cluster.get_client()
        assert settings() == before
        first = client.run(settings)
        class Survivor:
            word = "survived"
            def __call__(self, flag):
                if not os.path.exists(flag):
                    open(flag, "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)
                return self.word
        result = client.submit(Survivor(), os.environ["FLAG"]).result()
        after = client.run(settings)
        me = psutil.Process()
        sockets = me.net_connections() if hasattr(me, "net_connections") else me.connections()
        print(json.dumps({
            "result": result, "settings": [*first.values(), *after.values()], "address": client.scheduler.address,
            "ttl": client.cluster.scheduler.worker_ttl, "description": cluster.describe(client),
            "n_listening": len([c for c in sockets if c.status == "LISTEN"]), "bokeh": "bokeh" in sys.modules,
            "link": cluster.dashboard_link(client), "html": client._repr_html_(),
        }))
    """
    env = os.environ | {f"DASK_DISTRIBUTED__{key}": value for key, value in hostile.items()}
    env |= {"DASK_PANDAS_IMGPROC__N_WORKERS": "1", "DASK_PANDAS_IMGPROC__DASHBOARD": "off"}
    env |= {"FLAG": str(folder / "flag"), "TMPDIR": str(folder)}
    env |= {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])}
    (folder / "script.py").write_text(textwrap.dedent(code))
    command = [sys.executable, "script.py"]
    finished = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, ""), finished.stderr
    return json.loads(finished.stdout), (folder / "events").read_text().splitlines()


class TestResilience:
    def test_worker_that_has_closed_its_connections_is_replaced(self, managed_cluster):
        before = cluster_pids()
        lost = managed_cluster.submit(os.closerange, 3, 1000, workers=[0], pure=False)
        assert wait_until(lambda: len(cluster_pids() - before - {None}) == 1)
        lost.release()
        assert wait_until(lambda: len(managed_cluster.scheduler_info()["workers"]) == 2)

    def test_required_settings_override_user_configuration(self, hostile_outcome):
        seen, _ = hostile_outcome
        assert (seen["result"], seen["ttl"], seen["description"]) == ("survived", None, "local cluster of 1 process")
        assert seen["settings"] == [
            {
                "distributed.worker.memory.terminate": 0.95,
                "distributed.worker.memory.target": False,
                "distributed.worker.profile.enabled": False,
                "distributed.worker.daemon": True,
            }
        ] * len(seen["settings"])
        assert seen["address"].startswith("tls://127.0.0.1:")

    def test_dashboard_that_is_off_has_no_socket_and_no_link(self, hostile_outcome):
        seen, _ = hostile_outcome
        assert seen["n_listening"] == 2  # scheduler and nanny
        assert (seen["bokeh"], seen["link"]) == (False, None)
        assert "<a href" not in seen["html"]

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has anonymous files")
    def test_private_key_is_never_in_the_temporary_directory(self, hostile_outcome):
        """Neither for the first worker nor for the successor of the one that was killed."""
        _, events = hostile_outcome
        assert any("preload.py" in line for line in events)  # the hook was active in workers
        made = [line for line in events if line.startswith("tempfile.") or line.endswith((".pem", ".crt"))]
        assert [line for line in made if "/pandas-imgproc-dask-scratch-space-" not in line] == []

    def test_every_socket_listens_on_loopback_and_workers_have_one_each(self, managed_cluster):
        me = psutil.Process()
        listening = {p: [c.laddr for c in connections(p) if c.status == "LISTEN"] for p in (me, *me.children(True))}
        assert {address.ip for addresses in listening.values() for address in addresses} == {"127.0.0.1"}
        assert managed_cluster.dashboard_link.startswith("http://127.0.0.1:")
        ports = sorted(address.port for p, addresses in listening.items() if p != me for address in addresses)
        workers = [int(address.removeprefix("tls://127.0.0.1:")) for address in managed_cluster.ncores()]
        assert ports == sorted(workers)
        for port in ports:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                connection.request("GET", "/health")
                with pytest.raises((OSError, http.client.HTTPException)):
                    connection.getresponse()

    def test_open_dashboard_needs_no_token(self, fork):
        script = fork(
            """
            import dask, urllib.request
            from pandas_imgproc import cluster
            dask.config.set({"pandas-imgproc.dashboard": "open"})
            client = cluster.get_client(n_workers=1)
            link = cluster.dashboard_link(client)
            print(link, "<a href" in client._repr_html_(), urllib.request.urlopen(link).status)
            """
        )
        assert (script.wait(), script.err.read_text()) == (0, "")
        assert script.out.read_text().endswith("/status True 200\n")

    def test_client_without_certificate_is_rejected(self, managed_cluster):
        from distributed import Client
        from distributed.security import Security

        host, port = managed_cluster.scheduler.address.removeprefix("tls://").split(":")
        other = Security.temporary()  # a valid certificate of another authority
        for address, security in [(f"tcp://{host}:{port}", None), (f"tls://{host}:{port}", other)]:
            with pytest.raises((OSError, TimeoutError)):
                Client(address, security=security, timeout=1, set_as_default=False)
        assert managed_cluster.submit(sum, [1, 2], pure=False).result() == 3

    def test_worker_that_fails_to_restart_is_retried(self, managed_cluster, tmp_path):
        nanny = next(iter(cluster.manager._managed.cluster.workers.values()))
        preload, attempted = tmp_path / "preload.py", tmp_path / "attempted"
        preload.write_text(f"open({str(attempted)!r}, 'w').close()\nraise RuntimeError('not yet')\n")
        before, nanny.process.worker_kwargs["preload"] = nanny.process.worker_kwargs["preload"], [str(preload)]
        os.kill(nanny.pid, signal.SIGKILL)
        assert wait_until(attempted.exists)
        nanny.process.worker_kwargs["preload"] = before
        assert wait_until(lambda: len(managed_cluster.scheduler_info()["workers"]) == 2 and nanny.pid)
        assert nanny.status.name == "running"

    def test_killed_worker_restarts_without_lost_results(self, managed_cluster, tmp_path, capfd):
        def slow(i, flag):
            (tmp_path / "running").touch()
            while not (tmp_path / "go").exists():
                time.sleep(0.01)
            return i

        before = cluster_pids()
        futures = managed_cluster.map(slow, range(20), flag=str(tmp_path), pure=False)
        assert wait_until((tmp_path / "running").exists)
        os.kill(min(before), signal.SIGKILL)
        (tmp_path / "go").touch()
        assert managed_cluster.gather(futures) == list(range(20))
        assert wait_until(lambda: len(managed_cluster.scheduler_info()["workers"]) == 2)
        assert max(before) in cluster_pids()
        assert min(before) not in cluster_pids()
        assert capfd.readouterr().err == ""

    def test_sigint_does_not_end_workers(self, managed_cluster):
        before = cluster_pids()
        for pid in before:
            os.kill(pid, signal.SIGINT)
        assert managed_cluster.submit(sum, [1, 2], pure=False).result() == 3
        assert cluster_pids() == before


class TestInterruptedStart:
    def test_start_interrupted_twice_leaves_a_session_that_works(self, caller, tmp_path):
        """Ctrl-C while distributed is imported and once more at once; the same while the worker starts."""
        code = """
            import os, signal, sys, threading, time, psutil
            from pandas_imgproc import cluster
            def is_import():
                return "distributed.core" in sys.modules
            def is_start():
                children = psutil.Process().children()
                return any("spawn_main" in " ".join(child.cmdline()) for child in children)
            caught = threading.Event()
            def interrupt():
                for is_time in (is_import, None, is_start, None):
                    while is_time and not is_time(): time.sleep(0.001)
                    caught.clear()
                    os.kill(os.getpid(), signal.SIGINT)
                    caught.wait()
            threading.Thread(target=interrupt, daemon=True).start()
            n_caught = 0
            while n_caught < 4:
                try:
                    if n_caught: caught.set()  # here, for the next one may arrive at once
                    cluster.get_client(n_workers=1)
                    threading.Event().wait()  # it was up before the signal arrived
                except KeyboardInterrupt:
                    n_caught += 1
                    print("interrupted", flush=True)
            client = cluster.get_client(n_workers=1)
            print(client.submit(sum, [1, 2]).result(), len(client.scheduler_info()["workers"]), flush=True)
        """
        env = {"DASK_PANDAS_IMGPROC__DASHBOARD": "token"}  # the default
        process = caller("-c", textwrap.dedent(code), env=env, start_new_session=True)
        assert finish(process) == "interrupted\n" * 4 + "3 1\n"
        assert wait_until(lambda: not relatives(process.pid))
        assert not list((tmp_path / "tmp").iterdir())

    def test_exit_during_the_start_leaves_nothing(self, fork, tmp_path):
        script = fork(
            """
            import os, signal, threading, time, psutil
            from pandas_imgproc import cluster
            def interrupt():
                while not [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]:
                    time.sleep(0.001)
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=interrupt, daemon=True).start()
            cluster.get_client(n_workers=2)
            """
        )
        assert script.wait() == -signal.SIGINT
        err = script.err.read_text()
        assert err.strip().splitlines()[-1] == "KeyboardInterrupt"
        assert err.count("Traceback") == 1, err
        assert wait_until(lambda: not relatives(script.pid))
        assert not list((tmp_path / "tmp").iterdir())

    def test_worker_that_always_ends_while_it_starts_is_an_error(self, tmp_path, monkeypatch):
        cluster.close()
        code = "import os, sys\nif '--multiprocessing-fork' in sys.argv: os._exit(9)\n"
        (tmp_path / "sitecustomize.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        reason = "3 worker processes ended while they started, the last by exit code 9"
        with pytest.raises(ClusterError, match=f"the local cluster cannot be started: {reason}; "):
            cluster.get_client(n_workers=1)
        assert cluster.existing_client() is None

    def test_start_leaves_the_caller_unchanged_and_starts_killed_workers_again(self, monkeypatch, capfd):
        from multiprocessing import spawn

        assert spawn.get_preparation_data.__module__ == "multiprocessing.spawn"
        # A plain cluster of Dask's in an earlier test leaves such variables.
        for name in [x for x in os.environ if x.startswith(("MALLOC_", "PYTHONHASHSEED"))]:
            monkeypatch.delenv(name)
        monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "scratch" not in folder])
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
        cluster.close()
        killed, start = set(), threading.Thread(target=cluster.get_client, args=(2,))
        start.start()

        def kill_next():
            patches = sys.modules.get("pandas_imgproc.cluster._dask_patches")
            for each in list(patches.PatchedLocalCluster._instances) if patches else ():
                for nanny in list(each._created):
                    if each.status.name != "closed" and nanny.pid and nanny.pid not in killed:
                        os.kill(nanny.pid, signal.SIGKILL)
                        killed.add(nanny.pid)
            return len(killed) >= 2

        assert wait_until(kill_next)
        start.join()
        client = cluster.get_client(n_workers=2)
        assert not [x for x in os.environ if x.startswith(("MALLOC_", "PYTHONHASHSEED"))]
        assert not [folder for folder in sys.path if "scratch" in folder]
        seen = client.submit(lambda: (dict(os.environ), sys.path, "pandas" in sys.modules)).result()
        assert seen[0]["MALLOC_TRIM_THRESHOLD_"] == "268435456"
        assert (seen[0]["OMP_NUM_THREADS"], seen[0]["OPENBLAS_NUM_THREADS"]) == ("1", "3")
        assert not [folder for folder in seen[1] if "scratch" in folder]
        assert capfd.readouterr().err == ""

    def test_worker_that_is_stopped_while_it_starts_is_replaced(self):
        cluster.close()
        stopped, start = set(), threading.Thread(target=cluster.get_client, args=(1,), daemon=True)

        def stop_first():
            patches = sys.modules.get("pandas_imgproc.cluster._dask_patches")
            for each in list(patches.PatchedLocalCluster._instances) if patches else ():
                for nanny in list(each._created):
                    if each.status.name != "closed" and nanny.pid:
                        os.kill(nanny.pid, signal.SIGSTOP)
                        stopped.add(nanny.pid)
            return stopped

        with dask.config.set({"pandas-imgproc.row-timeout": 2}):
            start.start()
            assert wait_until(stop_first)
            start.join(60)
            assert not start.is_alive()
        assert stopped.isdisjoint(cluster.worker_pids())


def without_network():
    unshare(0x40000000)  # CLONE_NEWNET


def without_shared_memory():
    unshare(0x00020000)  # CLONE_NEWNS
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/dev/shm"], check=True)


def unshare(flags):
    """Move this process to a namespace of its own; `os.unshare` is new in Python 3.12."""
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


@pytest.mark.skipif(sys.platform != "linux", reason="limits and namespaces of Linux")
@pytest.mark.parametrize(
    ("restrict", "reason"),
    [
        (without_network, "this process cannot connect to itself at 127.0.0.1"),
        (without_shared_memory, "processes cannot share semaphores"),
    ],
)
def test_environment_without_a_cluster_is_told_at_once(restrict, reason):
    if subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this environment cannot be made here")
    reader, writer = os.pipe()
    child = os.fork()  # which has imported all
    if child == 0:
        try:
            restrict()
            cluster.get_client(n_workers=1)
        except BaseException as exc:
            os.write(writer, f"{type(exc).__name__}: {exc}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read().startswith(f"ClusterError: the local cluster cannot be started: {reason}")
    os.waitpid(child, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_little_address_space_is_told_at_once(caller):
    """In a process of its own from its start: a fork of this one has more than the limit already."""
    code = """
        import resource
        from pandas_imgproc import cluster, errors
        resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, 1_000_000_000))
        try:
            cluster.get_client(n_workers=1)
        except errors.ClusterError as exc:
            print(exc)
    """
    reason = "a worker process needs 1.5 GB of address space"
    out = finish(caller("-c", textwrap.dedent(code)))
    assert out.startswith(f"the local cluster cannot be started: {reason}")


def test_worker_of_joblib_starts_a_cluster_on_request(caller, tmp_path):
    pytest.importorskip("joblib")
    row_image(7).save(tmp_path / "7.png")
    code = """
        import joblib
        def call(npartitions):
            import pandas as pd, pandas_imgproc
            from pandas_imgproc.execution import collect_stats
            with collect_stats() as jobs:
                column = pd.Series(["7.png"] * 4).img.load_resized(8, npartitions=npartitions)
                column.img.map(lambda pixels: 1, dtype="int64")
            return column.notna().all(), [job.plan for job in jobs]
        print(*joblib.Parallel(n_jobs=2)([joblib.delayed(call)(2)])[0])
    """
    env = {"DASK_PANDAS_IMGPROC__N_WORKERS": "1"}
    out = finish(caller("-c", textwrap.dedent(code), env=env))
    assert "True ['local cluster of 1 process', 'inline on " in out
    assert "(inside a worker of joblib)']" in out


ENDINGS = {
    "kill -9": lambda p: os.kill(p.pid, signal.SIGKILL),
    "kill -9 of the group": lambda p: os.killpg(p.pid, signal.SIGKILL),
    "SIGTERM": lambda p: os.kill(p.pid, signal.SIGTERM),
    "Ctrl-C": lambda p: os.killpg(p.pid, signal.SIGINT),
}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")
@pytest.mark.parametrize("ending", ENDINGS)
def test_ended_caller_leaves_no_process_file_or_memory(fork, tmp_path, ending):
    script = fork(
        """
        import signal, time
        from pandas_imgproc import cluster
        client = cluster.get_client(n_workers=1)
        busy = client.submit(time.sleep, 1000)
        while not any(client.processing().values()): time.sleep(0.01)
        print("up", flush=True)
        signal.pause()
        """
    )
    assert wait_until(lambda: script.out.read_text() == "up\n")
    family = relatives(script.pid)
    assert len(family) >= 3  # the caller, Python's tracker, the worker
    mapped = set().union(*(shared_memory(p.pid) for p in family))
    ENDINGS[ending](script)
    script.wait()
    assert wait_until(lambda: not relatives(script.pid))
    assert not list((tmp_path / "tmp").iterdir())
    assert not [name for name in mapped if name.exists()]
    err = script.err.read_text()
    assert (err.strip().splitlines() or [""])[-1] == ("KeyboardInterrupt" if ending == "Ctrl-C" else "")
    assert err.count("Traceback") == (ending == "Ctrl-C")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")
def test_group_killed_while_workers_start_leaves_no_shared_memory(fork):
    script = fork(
        """
        import multiprocessing.process, os, signal, threading, time
        from pandas_imgproc import cluster
        threading.Thread(target=cluster.get_client, kwargs={"n_workers": 2}, daemon=True).start()
        while not multiprocessing.process._children:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGSTOP)
        """
    )
    assert wait_until(lambda: psutil.Process(script.pid).status() == psutil.STATUS_STOPPED)
    mapped = set().union(*(shared_memory(p.pid) for p in relatives(script.pid)))
    os.killpg(script.pid, signal.SIGKILL)
    script.wait()
    assert wait_until(lambda: not relatives(script.pid))
    assert not [name for name in mapped if name.exists()]


def test_forked_and_daemonic_children_leave_the_cluster_running(fork):
    script = fork(
        """
        import multiprocessing, os, sys, warnings
        from pandas_imgproc import cluster
        from pandas_imgproc.errors import ClusterError
        warnings.simplefilter("ignore", DeprecationWarning)
        client = cluster.get_client(n_workers=1)
        before = client.run(os.getpid)
        pid = os.fork()
        if not pid:
            assert cluster.existing_client() is None and not cluster.is_managed(client)
            cluster.close()
            sys.exit(7)  # not os._exit: all that runs at exit runs here
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        def daemonic():
            assert cluster.nested_context() == "inside a daemonic process"
            try:
                cluster.get_client()
            except ClusterError:
                sys.exit(8)
        child = multiprocessing.get_context("fork").Process(target=daemonic, daemon=True)
        child.start()
        child.join()
        assert child.exitcode == 8, child.exitcode
        assert client.run(os.getpid) == before and cluster.existing_client() is client
        """
    )
    assert (script.wait(), script.err.read_text()) == (0, "")


def test_reason_of_a_failed_start_is_one_short_line():
    """Python's own reasons have paragraphs."""
    message = str(start_error("An attempt\n\n   has been made " + "to start a new process " * 100))
    assert "An attempt has been made to start" in message
    assert "\n" not in message
    assert len(message) < 500


def test_temporary_folder_that_is_not_utf8_is_named_at_once(tmp_path):
    """Dask cannot send its name, and would start each worker three times before it says so."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    with (
        dask.config.set({"temporary-directory": str(folder)}),
        pytest.raises(ClusterError, match=r"temporary folder .*surrogates not allowed"),
    ):
        check_environment(1, "1 GB")
