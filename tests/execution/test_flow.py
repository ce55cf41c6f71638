"""Flow control: the number of outstanding partitions, and the shortest partition."""

from __future__ import annotations

import itertools

import pytest
from no_op_task import make_state

from pandas_imgproc.execution.flow import MANAGE_SECONDS, MAX_PER_THREAD, WORKER_SECONDS, FlowControl


def n_accepted(round_trip, seconds, *, is_foreign, n_rows=10):
    """Return the number of outstanding partitions for each of four threads."""
    state = make_state(100_000, n_done=100, wall=100 * seconds / n_rows)
    flow = FlowControl(state)
    flow.set_workers(4, 1)
    return next(n for n in itertools.count() if not flow.accepts(n, n * n_rows, round_trip, is_foreign=is_foreign)) / 4


@pytest.mark.parametrize(
    ("round_trip", "seconds", "is_foreign", "expected"),
    [
        (0.0, 1.0, False, 2),  # one runs, one waits
        (0.1, 1.0, False, 2.5),  # and one more while the next ones are on their way
        (0.1, 0.1, False, 6),
        (0.0, 1.0, True, 10),  # ten seconds of work, for adaptive clusters
        (0.0, 4.0, True, 2.5),
        (0.0, 0.1, True, 10),
        (0.1, 0.02, True, 22),
        (10.0, 0.01, True, MAX_PER_THREAD),
    ],
)
def test_outstanding_partitions_follow_round_trip_and_duration(round_trip, seconds, is_foreign, expected):
    assert n_accepted(round_trip, seconds, is_foreign=is_foreign) == pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize(("n_threads", "threads_per_worker"), [(1000, 1), (64, 64)])
def test_shortest_partition_follows_the_number_of_workers(n_threads, threads_per_worker):
    state = make_state(100)
    FlowControl(state).set_workers(n_threads, threads_per_worker)
    assert state.min_seconds == max(n_threads * MANAGE_SECONDS, threads_per_worker * WORKER_SECONDS)
