"""The cluster in real processes: how it starts, what it must withstand, and that nothing of it remains."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import psutil
import pytest

from conftest import cluster_pids, shared_memory, wait_until
from pandas_imgproc import cluster
from pandas_imgproc.errors import ClusterError

ROOT = Path(__file__).parent.parent

# No guard. The body must run once: a worker that ran it again would print again. What stands in __main__
# must reach the workers, also one that was killed and came back.
SCRIPT = """
import os, signal
from pandas_imgproc import cluster

class Shift:
    by = 10
    def __call__(self, x):
        return x + self.by

def kill_once(flag):
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return Shift()(1)
    os.kill(os.getpid(), signal.SIGKILL)

client = cluster.get_client(n_workers=1)
print(sum(client.gather(client.map(Shift(), range(5)))), flush=True)
print(client.submit(kill_once, os.environ["FLAG"]).result(), flush=True)
"""


def connections(process):
    """Return the sockets of a process; psutil 6 has renamed the method."""
    return process.net_connections() if hasattr(process, "net_connections") else process.connections()


@pytest.fixture
def caller(tmp_path):
    """Run Python code in a process of its own, which finds nothing but this package and an empty TMPDIR."""
    started = []

    def run(*args, **options):
        (tmp_path / "tmp").mkdir(exist_ok=True)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        env = os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path / "tmp"), "FLAG": str(tmp_path / "flag")}
        env |= {"CALLER": uuid.uuid4().hex} | options.pop("env", {})
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        process = subprocess.Popen([sys.executable, *args], text=True, env=env, cwd=tmp_path, **pipes)
        process.mark = env["CALLER"]
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


def relatives(mark):
    """Return all processes that inherited a caller's environment, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CALLER") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


class TestStart:
    @pytest.mark.parametrize("way", ["file", "stdin", "-c", "-m"])
    def test_script_without_guard(self, caller, tmp_path, way):
        (tmp_path / "pkg").mkdir()
        (tmp_path / "pkg" / "script.py").write_text(SCRIPT)
        if way in ("stdin", "-c"):  # no worker could find these again: killing one has nothing to show
            (tmp_path / "flag").touch()
        args = {"file": ["pkg/script.py"], "stdin": ["-"], "-c": ["-c", SCRIPT], "-m": ["-m", "pkg.script"]}[way]
        assert finish(caller(*args), SCRIPT if way == "stdin" else "") == "60\n11\n"
        assert not list((tmp_path / "tmp").iterdir())

    def test_notebook_kernel(self, tmp_path, monkeypatch):
        pytest.importorskip("ipykernel")
        manager = pytest.importorskip("jupyter_client.manager")
        monkeypatch.setenv("FLAG", str(tmp_path / "flag"))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        kernels, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
        said = []
        try:
            reply = client.execute_interactive(SCRIPT, output_hook=said.append)
            assert reply["content"]["status"] == "ok"
        finally:
            client.stop_channels()
            kernels.shutdown_kernel()
        streams = [m["content"] for m in said if m["msg_type"] == "stream"]
        assert "".join(s["text"] for s in streams) == "60\n11\n"

    def test_users_processes_and_environment_are_not_touched(self, monkeypatch):
        from multiprocessing import spawn

        assert spawn.get_preparation_data.__module__ == "multiprocessing.spawn"
        # A plain cluster of Dask's, in a test before, leaves such things behind.
        for name in [x for x in os.environ if x.startswith(("MALLOC_", "PYTHONHASHSEED"))]:
            monkeypatch.delenv(name)
        monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "scratch" not in folder])
        cluster.close()
        own_cluster = cluster.get_client(n_workers=2)
        assert not [x for x in os.environ if x.startswith(("MALLOC_", "PYTHONHASHSEED"))]
        assert not [folder for folder in sys.path if "scratch" in folder]
        seen = own_cluster.submit(lambda: (dict(os.environ), sys.path, "pandas" in sys.modules)).result()
        assert seen[0]["MALLOC_TRIM_THRESHOLD_"] == "268435456"
        assert not [folder for folder in seen[1] if "scratch" in folder]

    def test_looking_does_not_import_distributed(self, caller):
        code = """
            import sys, timeit
            from pandas_imgproc import cluster
            assert cluster.existing_client() is None and cluster.nested_context() is None
            cluster.close()
            assert "distributed" not in sys.modules
            assert min(timeit.repeat(cluster.existing_client, number=100, repeat=5)) / 100 < 1e-4
        """
        finish(caller("-c", textwrap.dedent(code)))


class TestSafety:
    def test_users_settings_do_not_override_what_must_hold(self, caller):
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
            import dask, json, os, signal
            from pandas_imgproc import cluster
            names = ["worker.memory.terminate", "worker.memory.target", "worker.profile.enabled", "worker.daemon"]
            names = [f"distributed.{name}" for name in names]
            def settings():
                return {name: dask.config.get(name) for name in names}
            before = settings()
            client = cluster.get_client()
            assert settings() == before
            first = client.run(settings)
            def die(flags):
                path = f"{flags}-{os.getpid()}"
                if len([x for x in os.listdir(os.path.dirname(flags)) if x.startswith("flag")]) < 3:
                    open(path, "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)
                return "survived"
            answer = client.submit(die, os.environ["FLAG"]).result()
            after = client.run(settings)
            scheduler = client.cluster.scheduler
            print(json.dumps([answer, [*first.values(), *after.values()], scheduler.worker_ttl,
                              cluster.describe(client), client.scheduler.address]))
        """
        env = {f"DASK_DISTRIBUTED__{key}": value for key, value in hostile.items()}
        env["DASK_PANDAS_IMGPROC__N_WORKERS"] = "1"
        out = finish(caller("-c", textwrap.dedent(code), env=env))
        answer, settings, ttl, description, address = json.loads(out)
        assert (answer, ttl, description) == ("survived", None, "local cluster of 1 process")
        assert settings == [
            {
                "distributed.worker.memory.terminate": 0.95,
                "distributed.worker.memory.target": False,
                "distributed.worker.profile.enabled": False,
                "distributed.worker.daemon": True,
            }
        ] * len(settings)
        assert address.startswith("tls://127.0.0.1:")

    def test_every_socket_is_on_the_loopback(self, own_cluster):
        tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [c.laddr.ip for p in tree for c in connections(p) if c.status == "LISTEN"]
        assert len(listening) >= 6
        assert set(listening) == {"127.0.0.1"}
        assert own_cluster.dashboard_link.startswith("http://127.0.0.1:")

    def test_no_entry_without_certificate(self, own_cluster):
        from distributed import Client
        from distributed.security import Security

        host, port = own_cluster.scheduler.address.removeprefix("tls://").split(":")
        stranger = Security.temporary()  # of the same form, from another hand
        for address, security in [(f"tcp://{host}:{port}", None), (f"tls://{host}:{port}", stranger)]:
            with pytest.raises((OSError, TimeoutError)):
                Client(address, security=security, timeout=1, set_as_default=False)
        assert own_cluster.submit(sum, [1, 2], pure=False).result() == 3

    def test_worker_that_fails_to_come_back_is_started_again(self, own_cluster, tmp_path):
        nanny = next(iter(cluster.manager._managed.cluster.workers.values()))
        preload, tried = tmp_path / "preload.py", tmp_path / "tried"
        preload.write_text(f"open({str(tried)!r}, 'w').close()\nraise RuntimeError('not yet')\n")
        before, nanny.process.worker_kwargs["preload"] = nanny.process.worker_kwargs["preload"], [str(preload)]
        os.kill(nanny.pid, signal.SIGKILL)
        assert wait_until(tried.exists)
        nanny.process.worker_kwargs["preload"] = before
        assert wait_until(lambda: len(own_cluster.scheduler_info()["workers"]) == 2 and nanny.pid)
        assert nanny.status.name == "running"

    def test_killed_worker_comes_back_and_nothing_is_lost(self, own_cluster, tmp_path, capfd):
        def slow(i, flag):
            (tmp_path / "running").touch()
            while not (tmp_path / "go").exists():
                time.sleep(0.01)
            return i

        before = cluster_pids()
        futures = own_cluster.map(slow, range(20), flag=str(tmp_path), pure=False)
        assert wait_until((tmp_path / "running").exists)
        os.kill(min(before), signal.SIGKILL)
        (tmp_path / "go").touch()
        assert own_cluster.gather(futures) == list(range(20))
        assert wait_until(lambda: len(own_cluster.scheduler_info()["workers"]) == 2)
        assert max(before) in cluster_pids()
        assert min(before) not in cluster_pids()
        assert capfd.readouterr().err == ""

    def test_ctrl_c_does_not_reach_workers(self, own_cluster):
        before = cluster_pids()
        for pid in before:
            os.kill(pid, signal.SIGINT)
        assert own_cluster.submit(sum, [1, 2], pure=False).result() == 3
        assert cluster_pids() == before


ENDINGS = {
    "kill -9": lambda p: os.kill(p.pid, signal.SIGKILL),
    "kill -9 of the group": lambda p: os.killpg(p.pid, signal.SIGKILL),
    "SIGTERM": lambda p: os.kill(p.pid, signal.SIGTERM),
    "Ctrl-C": lambda p: os.killpg(p.pid, signal.SIGINT),
    "exception": lambda p: p.stdin.write("1 / 0\n"),
    "os._exit": lambda p: p.stdin.write("os._exit(3)\n"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_remains(caller, tmp_path, ending):
    code = """
        import os, sys, time
        from pandas_imgproc import cluster
        client = cluster.get_client(n_workers=1)
        busy = client.submit(time.sleep, 1000)
        while not any(client.processing().values()): time.sleep(0.01)
        print("up", flush=True)
        exec(sys.stdin.readline())
    """
    process = caller("-c", textwrap.dedent(code), start_new_session=True)
    assert process.stdout.readline() == "up\n"
    family = relatives(process.mark)
    assert len(family) >= 3  # the caller, Python's tracker, the worker
    mapped = set().union(*(shared_memory(p.pid) for p in family))
    ENDINGS[ending](process)
    process.stdin.flush()
    process.wait()
    assert wait_until(lambda: not relatives(process.mark))
    assert not list((tmp_path / "tmp").iterdir())
    assert not [name for name in mapped if name.exists()]
    err = process.stderr.read()
    expected = {"Ctrl-C": "KeyboardInterrupt", "exception": "ZeroDivisionError: division by zero"}.get(ending, "")
    assert (err.strip().splitlines() or [""])[-1] == expected
    assert err.count("Traceback") == bool(expected)


class TestWhose:
    def test_users_client_wins_and_is_not_closed(self, own_cluster, caplog):
        from distributed import Client

        with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
            assert cluster.get_client() is client
            assert cluster.existing_client() is client
            assert not cluster.fixed_n_threads(client)
            assert cluster.describe(client) == f"cluster at {client.scheduler.address}"
            assert cluster.pop_dashboard_link(client) is None
            with pytest.raises(ValueError, match=r"n_workers=2 .* a client of yours is active"):
                cluster.get_client(n_workers=2)
            with pytest.raises(ValueError, match=r"memory_limit=1000000000 "):
                cluster.get_client(memory_limit="1 GB")
            assert client.submit(cluster.nested_context).result() == "inside a Dask worker"
            assert cluster.nested_context() is None
            cluster.close()
            assert client.submit(sum, [1, 2]).result() == 3

    def test_own_client_is_not_the_default(self, own_cluster):
        from distributed import default_client

        with pytest.raises(ValueError, match="No clients found"):
            default_client()
        assert dask.base.get_scheduler() is None
        with own_cluster.as_current():
            assert cluster.get_client() is own_cluster

    def test_own_is_used_again_and_described(self, own_cluster):
        assert cluster.get_client() is own_cluster
        assert cluster.existing_client() is own_cluster
        assert cluster.fixed_n_threads(own_cluster)
        assert cluster.describe(own_cluster) == "local cluster of 2 processes"
        cluster.pop_dashboard_link(own_cluster)
        assert cluster.pop_dashboard_link(own_cluster) is None

    def test_inside_a_worker(self, own_cluster):
        def from_a_thread():
            got = []
            thread = threading.Thread(target=lambda: got.append(cluster.nested_context()))
            thread.start()
            thread.join()
            try:
                cluster.get_client()
            except ClusterError as error:
                got.append(str(error))
            return got

        assert own_cluster.submit(cluster.nested_context).result() == "inside a Dask worker"
        phrase, message = own_cluster.submit(from_a_thread).result()
        assert phrase == "inside a Dask worker"
        assert message.startswith("a cluster cannot be started inside a Dask worker; ")

    def test_children_leave_it_alone(self, caller):
        code = """
            import multiprocessing, os, sys
            from pandas_imgproc import cluster
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
                except cluster.ClusterError:
                    sys.exit(8)
            child = multiprocessing.get_context("fork").Process(target=daemonic, daemon=True)
            child.start()
            child.join()
            assert child.exitcode == 8, child.exitcode
            assert client.run(os.getpid) == before and cluster.existing_client() is client
        """
        finish(caller("-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)))


HUB = "JUPYTERHUB_SERVICE_PREFIX"
PROXY = {"distributed.dashboard.link": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"}


@pytest.mark.parametrize(
    ("environment", "configured", "link"),
    [
        ({}, {}, "http://127.0.0.1:{port}/status"),
        ({HUB: "/user/ann/"}, PROXY, "/user/ann/proxy/{port}/status"),
        ({HUB: "/user/ann/"}, {}, None),
        ({}, PROXY, None),  # the variable is not there
        ({"COLAB_RELEASE_TAG": "x"}, {}, None),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, {}, None),
    ],
)
def test_the_link_is_one_that_a_browser_can_follow(own_cluster, monkeypatch, environment, configured, link):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    port = own_cluster.scheduler_info()["services"]["dashboard"]
    with dask.config.set(configured):
        assert cluster.dashboard_link(own_cluster) == (link and link.format(port=port))
        monkeypatch.setattr(cluster.manager._managed, "link_shown", False)
        assert cluster.pop_dashboard_link(own_cluster) == cluster.dashboard_link(own_cluster)


class TestRestart:
    def test_other_numbers_and_deaths(self, caplog):
        caplog.set_level(logging.INFO, "pandas_imgproc")
        with ThreadPoolExecutor(3) as threads:  # who ask at once get the same one
            got = list(threads.map(lambda _: cluster.get_client(n_workers=1, memory_limit="1 GiB"), range(3)))
        assert len(set(map(id, got))) == 1
        first = got[0]
        assert [w["memory_limit"] for w in first.scheduler_info()["workers"].values()] == [2**30]
        assert cluster.get_client(n_workers=1, memory_limit=2**30) is first
        assert cluster.pop_dashboard_link(first) == first.dashboard_link
        assert "Started a local cluster of 1 process" in caplog.text
        with dask.config.set({"pandas-imgproc.n-workers": 2}):
            second = cluster.get_client()
            assert (len(second.scheduler_info()["workers"]), first.status) == (2, "closed")
            assert cluster.get_client() is second
        first.close()
        second.cluster.close()
        assert cluster.existing_client() is None
        third = cluster.get_client(n_workers=1)
        assert third.submit(sum, [1, 2]).result() == 3
        third.close()
        assert cluster.existing_client() is None
        cluster.close()
        cluster.close()
        assert cluster.existing_client() is None


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"n_workers": 0}, ValueError, r"n_workers=0 is no number of processes; give an int from 1 up"),
        ({"n_workers": -1}, ValueError, r"n_workers=-1 "),
        ({"n_workers": True}, TypeError, r"n_workers=True is bool"),
        ({"n_workers": 2.0}, TypeError, r"n_workers=2.0 is float"),
        ({"n_workers": "2"}, TypeError, r"n_workers='2' is str"),
        ({"memory_limit": "lots"}, ValueError, r"memory_limit='lots' is no amount of memory; give 'auto'"),
        ({"memory_limit": 0}, ValueError, r"memory_limit=0 "),
        ({"memory_limit": -1.5}, ValueError, r"memory_limit=-1.5 "),
        ({"memory_limit": float("nan")}, ValueError, r"memory_limit=nan "),
        ({"memory_limit": True}, TypeError, r"memory_limit=True is bool"),
        ({"memory_limit": [1]}, TypeError, r"memory_limit=\[1\] is list"),
    ],
)
def test_wrong_arguments_are_said_before_anything_starts(arguments, error, says):
    before = cluster.existing_client()
    with pytest.raises(error, match=says):
        cluster.get_client(**arguments)
    assert cluster.existing_client() is before


@pytest.mark.parametrize("key", ["n-workers", "memory-limit"])
def test_wrong_configuration_is_named(key):
    cluster.close()
    with (
        dask.config.set({f"pandas-imgproc.{key}": "lots"}),
        pytest.raises((TypeError, ValueError), match=rf"pandas-imgproc.{key}='lots' "),
    ):
        cluster.get_client()
