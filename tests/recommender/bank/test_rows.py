import numpy as np
import psutil
import pytest

from recommender.bank.rows import Rows

WIDTH = 16


def rows_of(count: int, *, capacity: int = 1) -> Rows:
    rows = Rows(capacity, WIDTH)
    assert [rows.take() for _ in range(count)] == list(range(count))
    return rows


def test_rows_keep_what_they_hold_when_there_become_more() -> None:
    rows = rows_of(1)
    for row in range(1000):
        rows.array[row] = row
        assert rows.take() == row + 1
    assert (rows.array[:1000, 0] == np.arange(1000)).all()
    assert not rows.array[1000:].any()


def test_an_array_from_before_it_grew_stays_readable() -> None:
    """It may not show what is written later, but it never points to memory that was given back."""
    rows = rows_of(4, capacity=4)
    rows.array[:] = 7
    before = rows.array
    for _ in range(100_000):
        rows.take()
    rows.array[:4] = 1
    assert (before == 7).all()
    assert (rows.array[:4] == 1).all()


def test_growing_moves_memory_instead_of_copying_it() -> None:
    rows = rows_of(64, capacity=64)
    memory = rows._memory
    rows.take()
    assert rows._memory is memory
    assert len(memory) == rows.array.nbytes == 128 * WIDTH * 4


def test_rows_that_were_not_written_to_take_no_memory() -> None:
    rows = Rows(1, 2**16)
    before = psutil.Process().memory_info().rss
    for _ in range(1000):
        rows.take()
    assert rows.array.nbytes == 2**28
    assert psutil.Process().memory_info().rss - before < 2**25


def test_rows_that_there_is_no_memory_for_leave_the_others_as_they_are() -> None:
    rows = rows_of(1)
    rows.array[0] = 7
    with pytest.raises(OSError, match="Errno"):
        rows._grow(2**50)
    assert (rows.array == 7).all()
    assert rows.take() == 1


def test_a_row_that_was_given_back_is_the_next_one_and_empty() -> None:
    rows = rows_of(3)
    rows.array[:3] = 7
    rows.give_back(0)
    rows.give_back(1)
    assert len(rows) == 1
    assert [rows.take(), rows.take(), rows.take()] == [1, 0, 3]
    assert rows.array[:4, 0].tolist() == [0, 0, 7, 0]


def test_a_row_is_not_given_back_twice() -> None:
    rows = rows_of(2)
    rows.give_back(1)
    with pytest.raises(IndexError):
        rows.give_back(1)
    assert len(rows) == 1


@pytest.mark.parametrize("row", [-1, 1, 2, 10**9])
def test_a_row_that_is_not_handed_out_is_refused(row: int) -> None:
    rows = rows_of(3, capacity=3)
    rows.give_back(1)
    rows.give_back(2)
    with pytest.raises(IndexError, match="not handed out"):
        rows.require([0, row])
