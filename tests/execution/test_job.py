"""Partitions of a job: their sizes, and that they cover every pending row once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from no_op_task import make_state

from pandas_imgproc import execution


def sink_of(**fields):
    """Return the attributes of a sink that decide about partitions."""
    return SimpleNamespace(
        n_finished=0, **{"schema_known": True, "part_ends": (), "block_rows": 1, "max_partition_rows": None} | fields
    )


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000, 100_000])
@pytest.mark.parametrize("npartitions", [None, 1, 7, 2000])
@pytest.mark.parametrize("seconds", [0.0, 1e-6, 0.01, 5.0])
def test_partitions_cover_every_row_once_in_order(n, npartitions, seconds):
    state = make_state(n, npartitions, n_done=1, wall=seconds, n_workers=2)
    partitions = list(state.iter_partitions())
    assert [position for positions in partitions for position in positions] == list(range(n))
    maximum = max(execution.MAX_PARTITION_ROWS, n if npartitions else 0)
    assert all(0 < len(positions) <= maximum for positions in partitions)
    if npartitions:
        assert len(partitions) == min(n, npartitions)


@pytest.mark.parametrize("npartitions", [None, 1, 2, 7, 300])
def test_partitioning_skips_finished_rows(npartitions):
    """Partitions go on across gaps: as many as requested, or as for as many rows without gaps."""
    pending = [*range(3, 40), 41, *range(50, 200, 2), 199]
    partitions = list(make_state(200, npartitions, pending=pending).iter_partitions())
    without_gaps = list(make_state(len(pending), npartitions).iter_partitions())
    assert [position for positions in partitions for position in positions] == pending
    assert list(map(len, partitions)) == list(map(len, without_gaps))


def test_partitions_end_with_parts_unless_they_would_be_half_or_twice_as_large():
    """A resumed job writes each Parquet part once, not once for each partition that has a row of it."""
    sink = sink_of(nbytes=0, part_ends=[300, 600, 1200, 2000])
    state = make_state(2000, sink=sink, n_done=1, wall=1.0, n_workers=2, min_seconds=100.0)  # of 200 rows
    assert [len(positions) for positions in state.iter_partitions()][:4] == [300, 300, 200, 400]
    sink = sink_of(nbytes=0, part_ends=[*range(48, 961, 48), 2000])
    state = make_state(2000, sink=sink, n_done=1, wall=1.0, n_workers=2, min_seconds=100.0)  # of 200 rows
    sizes = [len(positions) for positions in state.iter_partitions()]
    assert sizes[:6] == [192] * 5 + [200]
    assert sum(sizes) == 2000


def test_partitions_of_large_images_have_few_bytes():
    """More memory would be returned to the system after each partition, and its first touch is slow."""
    large = sink_of(nbytes=1000 * 2**20)
    state = make_state(1000, sink=large, n_done=1, wall=0.01, n_workers=2)
    assert max(len(positions) for positions in state.iter_partitions()) == 24


@pytest.mark.parametrize(
    ("values_travel", "min_seconds", "expected"),
    [(True, 6.0, 24), (False, 0.0, 24), (False, 0.6, 60), (False, 6.0, 96)],
)
def test_partitions_of_many_workers_that_write_large_images_themselves_have_more_bytes(
    values_travel, min_seconds, expected
):
    large = sink_of(nbytes=1000 * 2**20)
    measured = {"n_done": 1, "wall": 0.01, "n_workers": 2, "min_seconds": min_seconds}
    state = make_state(1000, sink=large, values_travel=values_travel, **measured)
    assert max(len(positions) for positions in state.iter_partitions()) == expected


@pytest.mark.parametrize("npartitions", [None, 3, 500])
def test_partitions_are_whole_blocks_also_where_rows_are_finished(npartitions):
    """Above the limit of bytes too; only the last block of the frame has fewer rows."""
    sink = sink_of(nbytes=1000 * 2**20, block_rows=70)
    state = make_state(1000, npartitions, pending=[3, 300, 301, 999], sink=sink, n_done=1, wall=0.01, n_workers=2)
    partitions = [list(positions) for positions in state.iter_partitions()]
    assert [row for positions in partitions for row in positions] == [*range(70), *range(280, 350), *range(980, 1000)]
    assert all(positions[0] % 70 == 0 for positions in partitions)
    assert state.n_total == 4


def test_partitions_last_until_many_workers_have_their_next_one():
    state = make_state(1_000_000, n_done=100, wall=10.0, n_workers=1000)  # rows of 0.1 s, which wait
    assert max(map(len, state.iter_partitions())) == 40
    state = make_state(1_000_000, n_done=100, wall=10.0, n_workers=1000, min_seconds=5.0)
    sizes = [len(positions) for positions in state.iter_partitions()]
    assert (max(sizes), sizes[-2]) == (100, 50)  # ten seconds, five at the end


def test_partitions_of_rows_that_wait_are_short_at_the_end():
    state = make_state(6400, n_done=100, wall=20.0, n_workers=64)  # rows of 0.2 s
    sizes = [len(positions) for positions in state.iter_partitions()]
    assert (max(sizes), sizes[-1]) == (20, 2)
