"""Has the C library give back memory that is no longer used, for who works on large arrays now and then."""

import ctypes
from typing import Final

# glibc's malloc.h, mallopt(3).
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8

_LARGE: Final = 256 << 10
_SPARE: Final = 1 << 20
_ARENAS: Final = 2


def give_back_large_blocks() -> bool:
    """Have large blocks lie in memory of their own, which goes back to the system with them.

    By itself glibc raises what it takes for large, up to 32 MB, each time that a larger block is freed. From
    then on arrays lie between small blocks that stay, and what they leave stays resident. To be called before
    there are threads; it holds for the whole process.

    Returns:
        Whether the C library knows of it: glibc does, musl needs none of it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _SPARE), (_ARENA_MAX, _ARENAS))
    return all(mallopt(option, value) == 1 for option, value in wanted)
