"""Rows of float32 that are handed out and taken back, in memory that grows without being copied."""

import mmap
from contextlib import suppress
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import IndexArray
from recommender.bank.percentiles import BoolArray, WeightArray

_ITEM_BYTES: Final = 4


class Rows:
    """Rows of zeros, handed out by number; a number that was taken back is handed out again first.

    They lie in memory of their own, which the operating system extends or moves by changing its page table:
    no page is read or written, so that growing 100,000 histograms is no pause, and rows that were not written
    to yet take no memory.

    Args:
        capacity: For how many rows there is room at first.
        width: Numbers in a row.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self._width = width
        self._memory = _zeros(capacity * width * _ITEM_BYTES)
        self._array = self._view()
        self._live: BoolArray = np.zeros(capacity, dtype=np.bool_)
        self._free: list[int] = []
        self._used = 0

    def __len__(self) -> int:
        """How many rows are handed out."""
        return self._used - len(self._free)

    @property
    def array(self) -> WeightArray:
        """All rows, shape (capacity, width).

        To be asked for anew after `take`: an array from before may show the rows as they were then.
        """
        return self._array

    @property
    def used(self) -> WeightArray:
        """The rows up to the last one that was ever handed out, shape (n, width)."""
        return self._array[: self._used]

    def take(self) -> int:
        """Hands out a row of zeros.

        Raises:
            OSError: There is no memory for more rows; nothing has changed then.
        """
        if self._free:
            row = self._free.pop()
        else:
            if self._used == len(self._live):
                self._grow(2 * self._used)
            row = self._used
            self._used += 1
        self._live[row] = True
        return row

    def give_back(self, row: int) -> None:
        """Empties a row and takes it back.

        Raises:
            IndexError: It is not handed out.
        """
        self.require(row)
        self._array[row] = 0
        self._live[row] = False
        self._free.append(row)

    def require(self, rows: npt.ArrayLike) -> IndexArray:
        """The row numbers as an array, shape (n,).

        Raises:
            IndexError: One of them is not handed out.
        """
        rows = np.asarray(rows, dtype=np.intp)
        # Numpy would count negative ones from the end.
        if rows.size and not (0 <= rows.min() <= rows.max() < self._used and self._live[rows].all()):
            raise IndexError("a row that is not handed out, or was taken back, holds no histogram")
        return rows

    def _grow(self, capacity: int) -> None:
        """Makes room.

        Memory that somebody still looks at is never moved away under him: he keeps it, and this goes on with
        a copy.
        """
        size = capacity * self._width * _ITEM_BYTES
        del self._array
        try:
            self._memory.resize(size)
        except (BufferError, SystemError):
            # Somebody looks at it, or the system cannot move memory.
            self._memory = _copy(self._memory, size)
        finally:
            self._array = self._view()
        _prefer_large_pages(self._memory)
        self._live = np.pad(self._live, (0, capacity - len(self._live)))

    def _view(self) -> WeightArray:
        return np.frombuffer(self._memory, dtype=np.float32).reshape(-1, self._width)


def _zeros(size: int) -> mmap.mmap:
    # Private: a shared mapping could be enlarged, but not written to behind its former end.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _prefer_large_pages(memory)
    return memory


def _prefer_large_pages(memory: mmap.mmap) -> None:
    """Saves half of the time of samples in any order of rows, which is spent on finding small pages."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Only a hint: a kernel built without them refuses.
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)


def _copy(memory: mmap.mmap, size: int) -> mmap.mmap:
    larger = _zeros(size)
    larger[: len(memory)] = memory[:]
    return larger
