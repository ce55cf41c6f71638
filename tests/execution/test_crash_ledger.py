"""Crash ledger: rows that crash twice are poisoned, their neighbors are not; cancellation reaches workers."""

from __future__ import annotations

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_factory import row_image

import pandas_imgproc
from pandas_imgproc.execution import crash_ledger, isolation_gate
from pandas_imgproc.execution.crash_ledger import (
    MAX_DEATHS,
    MAX_POISONED,
    SUSPECT_DEATHS,
    TIMED_OUT,
    WORKER_DIED,
    CrashLedger,
    ledger_nbytes,
)
from pandas_imgproc.execution.deadly import DeadlyBuildError, DeadlyPartitionError, DeadlyRowsError
from pandas_imgproc.execution.isolation_gate import GATE
from pandas_imgproc.execution.ledger_handle import LedgerHandle, shared_ledger


def start(ledger, positions):
    """Start an attempt, and return the poisoned rows."""
    ledger.start_attempt(positions)
    return ledger.poisoned


class DeathError(Exception):
    """Death of a simulated process."""


class Process:
    """Simulated process that dies some rows after a culprit, at the latest in the next grace period or at its end."""

    def __init__(self, culprit, rows_later, monkeypatch):
        self.culprit, self.rows_later, self.rows_left = culprit, rows_later, None
        monkeypatch.setattr(GATE, "wait_grace_period", self.wait_grace_period)

    def wait_grace_period(self):
        if self.rows_left is not None:
            raise DeathError
        GATE.is_quiet = True

    def survives(self, ledger, n):
        """Attempt a partition of n rows, and return whether the process is alive at its end."""
        self.rows_left = None
        ledger.start_attempt(range(n))
        try:
            for row in sorted(set(range(n)) - set(ledger.poisoned)):
                ledger.enter_row(row)
                self.rows_left = self.rows_later if row == self.culprit else self.rows_left and self.rows_left - 1
                if self.rows_left == 0:
                    raise DeathError
                ledger.exit_row(row)
            ledger.exit_partition()
        except DeathError:
            return False
        return self.rows_left is None


def test_row_crashing_twice_is_poisoned_neighbors_are_not():
    ledger = CrashLedger.in_memory(5)
    assert start(ledger, range(5)) == {}
    for crashes in (1, 2):
        ledger.enter_row(1), ledger.exit_row(1), ledger.enter_row(2)
        ledger.release()
        assert start(ledger, range(5)) == ({2: WORKER_DIED} if crashes == 2 else {})
    assert start(ledger, range(5)) == {2: WORKER_DIED}


@pytest.mark.parametrize(
    ("n_finished", "n_survived"), [(0, 0), (0, MAX_POISONED - 1), (0, MAX_POISONED), (MAX_POISONED, 0)]
)
def test_job_ends_when_most_of_its_rows_are_poisoned(no_grace_period, n_finished, n_survived):
    ledger = CrashLedger.in_memory(n_finished + n_survived + MAX_POISONED)
    ledger.set_pending(np.arange(n_finished + n_survived + MAX_POISONED) >= n_finished)
    for row in range(n_finished, n_finished + n_survived):
        start(ledger, range(row, row + 1)), ledger.enter_row(row), ledger.exit_row(row)
    rows = range(n_finished + n_survived, n_finished + n_survived + MAX_POISONED)
    for row, _ in itertools.product(rows, range(2)):
        assert row not in start(ledger, rows)
        ledger.enter_row(row)
    if n_finished + n_survived == MAX_POISONED:
        assert start(ledger, rows) == dict.fromkeys(rows, WORKER_DIED)
    else:
        with pytest.raises(DeadlyRowsError, match=f"{MAX_POISONED} rows ended each worker .* only {n_survived} rows"):
            start(ledger, rows)


def test_crash_count_does_not_overflow(no_grace_period):
    ledger = CrashLedger.in_memory(1)
    for _ in range(300):
        ledger.start_attempt(range(1))
        ledger.enter_row(0)
    assert start(ledger, range(1)) == {0: WORKER_DIED}
    assert ledger.has_crashes


@pytest.fixture
def no_grace_period(monkeypatch):
    for module in (crash_ledger, isolation_gate):
        monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
@pytest.mark.parametrize("rows_later", [0, 1, 5, 30, 100_000])
def test_row_whose_process_dies_rows_later_is_found_by_division(n, rows_later, monkeypatch, no_grace_period):
    """The first deaths hit an innocent row, or none; the number of deaths grows as the logarithm of n."""
    for culprit in {0, n // 3, n - 1}:
        ledger, deaths, process = CrashLedger.in_memory(n), 0, Process(culprit, rows_later, monkeypatch)
        while not process.survives(ledger, n):
            deaths += 1
            assert deaths <= 10
        assert ledger.poisoned == {culprit: WORKER_DIED}


def test_partition_that_dies_after_its_rows_each_time_is_given_up(no_grace_period):
    ledger = CrashLedger.in_memory(20)
    for death in range(MAX_DEATHS):
        ledger.start_attempt(range(5, 15))
        assert bool(ledger._groups) == (death >= SUSPECT_DEATHS)
        for row in range(5, 15):
            ledger.enter_row(row), ledger.exit_row(row)
        ledger.exit_partition()
        assert ledger.in_flight() == []
    with pytest.raises(DeadlyPartitionError, match="4 worker processes died with a partition of 10 rows"):
        ledger.start_attempt(range(5, 15))
    assert start(ledger, range(15, 20)) == {}, "another partition is not concerned"
    ledger.reset_attempts(5)
    assert start(ledger, range(5, 6)) == {}, "its rows are attempted alone"


def test_deaths_at_rows_do_not_give_a_partition_up(no_grace_period):
    ledger = CrashLedger.in_memory(10)
    for row in range(10):
        for _ in range(2):
            ledger.start_attempt(range(10))
            ledger.enter_row(row)
    assert len(start(ledger, range(10))) == 10


def test_missing_last_row_of_a_group_ends_it(no_grace_period):
    ledger = CrashLedger.in_memory(16)
    for _ in range(SUSPECT_DEATHS + 1):
        ledger.start_attempt(range(16))
    assert ledger._groups[2] == 3
    ledger.enter_row(2), ledger.exit_row(2)
    ledger.enter_row(4), ledger.exit_row(4)
    assert ledger._group == [4]
    ledger.exit_partition()
    assert (ledger.in_flight(), GATE.is_exclusive()) == ([], False)


def test_rows_in_flight_of_partitions_that_interleave_have_their_own_processes():
    ledger = CrashLedger.in_memory(10)
    ledger.start_attempt([0, 4, 8])
    ledger.enter_row(8)
    other = CrashLedger(ledger._pids.base, 10)
    other._pids[2], other._first_rows[[2, 6]], other._flags[6] = 4242, 2, 1
    assert sorted(ledger.in_flight()) == [(6, 4242), (8, os.getpid())]
    ledger.exit_row(8)
    ledger.release()


def test_group_in_flight_is_watched_at_its_last_row(no_grace_period):
    """A group may take longer than a row may."""
    ledger = CrashLedger.in_memory(40)
    for _ in range(SUSPECT_DEATHS + 1):
        ledger.start_attempt(range(20))
    ledger.enter_row(0), ledger.exit_row(0), ledger.enter_row(1)
    other = CrashLedger(ledger._pids.base, 40)
    other._pids[20], other._first_rows[25], other._flags[25] = 4242, 20, 1
    assert ledger.in_flight() == [(1, os.getpid()), (25, 4242)]
    assert (ledger.explains_death(4242), ledger.explains_death(4243)) == (True, False)
    ledger.release()


def test_rows_in_flight_are_found_while_workers_enter_partitions():
    ledger, stop = CrashLedger.in_memory(1_000_000), threading.Event()
    ledger.start_attempt(range(3))
    ledger.enter_row(0)

    def enter_partitions():
        while not stop.is_set():
            for pid in (0, 4242):
                ledger._pids[3:] = pid

    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(enter_partitions)
        try:
            assert all(ledger.in_flight() == [(0, os.getpid())] for _ in range(30))
        finally:
            stop.set()
    worker.result()


def test_shared_ledger_is_read_and_written_by_another_process():
    with shared_ledger(3) as (ledger, handle):
        child = os.fork()
        if child == 0:
            with handle.open() as opened:
                opened.enter_row(1)
            os._exit(0)
        os.waitpid(child, 0)
        ledger.start_attempt(range(3))
        ledger.enter_row(1)
        assert start(ledger, range(3)) == {1: WORKER_DIED}
        ledger.cancel()
        with handle.open() as opened:
            assert opened.cancelled


def test_unreachable_ledger_falls_back_to_null_ledger():
    with shared_ledger(3) as (ledger, handle):
        ledger.cancel()
    with handle.open() as opened:
        assert not opened.cancelled
    with LedgerHandle(None, 3).open() as opened:
        opened.enter_rows([1])
        assert start(opened, range(3)) == {}
        opened.cancel()
        assert opened.cancelled


def test_reused_fd_number_is_not_written():
    with shared_ledger(3) as (_, handle):
        pass
    fd = os.memfd_create("other")
    try:
        os.write(fd, bytes(4))
        assert fd == handle.file.fd or pytest.skip("the number went to another file")
        with handle.open() as opened:
            opened.enter_rows([1])
        assert os.pread(fd, 4, 0) == bytes(4)
    finally:
        os.close(fd)


def test_timed_out_row_is_poisoned_at_once():
    ledger = CrashLedger.in_memory(5)
    ledger.start_attempt(range(1, 4))
    ledger.enter_row(2)
    assert ledger.in_flight() == [(2, os.getpid())]
    ledger.mark_timed_out(2)
    assert start(ledger, range(1, 4)) == {2: TIMED_OUT}
    assert start(ledger, range(1, 4)) == {2: TIMED_OUT}
    assert ledger.in_flight() == []


def test_external_kills_do_not_count_up_to_limit():
    ledger = CrashLedger.in_memory(5)
    ledger.start_attempt(range(5))
    for crash in range(1, 5):
        ledger.enter_row(2)
        ledger.discount_kill(os.getpid())
        assert start(ledger, range(5)) == ({2: WORKER_DIED} if crash == 4 else {})


def test_late_report_of_external_kill_discounts_its_crash():
    ledger = CrashLedger.in_memory(5)
    for _ in range(2):
        ledger.start_attempt(range(5))
        ledger.enter_row(2)
    ledger.start_attempt(range(5))
    ledger.discount_kill(os.getpid())
    assert start(ledger, range(5)) == {}


def test_suspect_row_runs_exclusively_in_its_process():
    """Two threads of one process: no row is in flight beside the suspect one, hence none is blamed with it."""
    data = np.zeros(ledger_nbytes(40), dtype=np.uint8)
    left, right, suspect = CrashLedger(data, 40), CrashLedger(data, 40), 5
    left.start_attempt(range(20)), right.start_attempt(range(20, 40))
    left.enter_row(suspect), right.enter_row(25)
    del left, right  # with their process
    left, right = CrashLedger(data, 40), CrashLedger(data, 40)
    assert [start(left, range(20)), start(right, range(20, 40))] == [{}, {}]
    in_flight, finished = [], threading.Event()

    def run_other_rows():
        while not finished.is_set():
            for row in range(26, 40):
                right.enter_row(row)
                time.sleep(0)
                right.exit_row(row)

    thread = threading.Thread(target=run_other_rows)
    thread.start()
    for _ in range(5):
        left.enter_row(suspect)
        in_flight.append([row for row, _ in left.in_flight()])
        left.exit_row(suspect)
    finished.set()
    thread.join()
    assert in_flight == [[suspect]] * 5
    left.enter_row(suspect)
    last = CrashLedger(data, 40)
    assert [start(last, range(20)), start(last, range(20, 40))] == [{suspect: WORKER_DIED}, {}]
    left.release()


def test_inline_job_inside_suspect_row_does_not_wait_for_its_end(tmp_path):
    row_image(7).save(tmp_path / "7.png")
    ledger = CrashLedger.in_memory(1)
    ledger.enter_row(0)
    ledger.start_attempt(range(1))
    ledger.enter_row(0)
    assert pandas_imgproc.load_image(tmp_path / "7.png", 8).shape == (8, 8, 3)
    ledger.exit_row(0)


def test_batch_is_repeated_as_it_was_and_then_divided(no_grace_period):
    ledger, batch = CrashLedger.in_memory(40), range(8, 16)
    start(ledger, range(40)), ledger.enter_rows(batch)  # the process dies
    start(ledger, range(40))
    assert {ledger.call_group(row) for row in range(40)} == {None}
    ledger.enter_rows(batch)  # it dies again
    start(ledger, range(40))
    assert len({ledger.call_group(row) for row in batch}) == len(batch)
    assert ledger.call_group(7) is ledger.call_group(16) is None


def test_batch_that_survives_its_repetition_is_not_suspect(no_grace_period):
    ledger, batch = CrashLedger.in_memory(40), range(8, 16)
    start(ledger, range(40)), ledger.enter_rows(batch)
    start(ledger, range(40)), ledger.enter_rows(batch), ledger.exit_rows(batch), ledger.exit_partition()
    assert start(ledger, range(40)) == {}
    assert not ledger.has_crashes
    assert not ledger.in_flight()


def test_batch_is_whole_after_a_death_at_one_of_its_rows(no_grace_period):
    """Its result may depend on its rows, which had only been loaded."""
    ledger, batch = CrashLedger.in_memory(40), range(8, 16)
    start(ledger, range(40)), ledger.enter_rows([12])
    start(ledger, range(40))
    for row in batch:
        ledger.enter_rows([row]), ledger.exit_rows([row])
    assert {ledger.call_group(row) for row in batch} == {None}
    ledger.enter_rows(batch), ledger.exit_rows(batch), ledger.exit_partition()
    assert not ledger.in_flight()


def test_timeout_of_a_batch_blames_no_row(no_grace_period):
    ledger = CrashLedger.in_memory(4)
    start(ledger, range(4)), ledger.enter_rows([0, 1, 2])
    ((row, _),) = ledger.in_flight()
    ledger.mark_timed_out(row)
    assert start(ledger, range(4)) == {}
    ledger.enter_rows([2]), ledger.mark_timed_out(2)
    assert start(ledger, range(4)) == {2: TIMED_OUT}


def test_deaths_while_the_function_is_built_end_the_job_and_blame_no_partition():
    ledger = CrashLedger.in_memory(9)
    for first in (0, 3, 6):
        start(ledger, range(first, first + 3)), ledger.enter_build("Embedder")
    start(ledger, range(3)), ledger.enter_build("Embedder"), ledger.exit_build()
    for first in (3, 6):
        start(ledger, range(first, first + 3))
    with pytest.raises(DeadlyBuildError, match="3 worker processes died while they received or built Embedder"):
        ledger.enter_build("Embedder")
