"""The recommender's command line with one thing altered, so that a test can interrupt it at a known place.

Checkpoints in many parts, and a standstill in mid-write of a file:

python -P altered_recommender.py in-parts NUMBER recommender FLAG...
python -P altered_recommender.py halting NUMBER MARKER recommender FLAG...
"""

import os
import stat
import sys
import time
from pathlib import Path

from recommender.checkpoints import codec, keeper
from recommender.checkpoints.snapshot import Snapshot
from recommender.leadership.shards import Shard
from vgpu.cli import main

_FOREVER = 3600.0
_SHORTER = 64
"""Bytes by which parts are made shorter until there are enough of them."""


def cut(least: int) -> None:
    """Have checkpoints cut into at least so many parts, however small they are."""
    real = codec.encode

    def encode(snapshot: Snapshot, *, shard: Shard, generation: int, part_bytes: int) -> tuple[bytes, ...]:
        parts = real(snapshot, shard=shard, generation=generation, part_bytes=part_bytes)
        while len(parts) < least:
            shorter = max(map(len, parts)) - _SHORTER
            parts = real(snapshot, shard=shard, generation=generation, part_bytes=shorter)
        return parts

    vars(keeper)["encode"] = encode


def halt(number: int, marker: Path) -> None:
    """Stand still when so many files were written, with only half of the last one on the disk.

    Args:
        number: the file whose writing never ends, from 1.
        marker: is made then.
    """
    real, seen = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal seen
        about = os.fstat(descriptor)
        if stat.S_ISREG(about.st_mode):
            seen += 1
            if seen == number:
                os.ftruncate(descriptor, about.st_size // 2)
                marker.touch()
                time.sleep(_FOREVER)
        real(descriptor)

    vars(os)["fsync"] = fsync


def in_parts(least: int) -> tuple[str, ...]:
    """What Python has to run for checkpoints in at least so many parts."""
    return ("-P", __file__, "in-parts", str(least))


def halting(number: int, marker: Path) -> tuple[str, ...]:
    """What Python has to run for a standstill."""
    return ("-P", __file__, "halting", str(number), str(marker))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["in-parts", least, *rest]:
            cut(int(least))
        case ["halting", number, marker, *rest]:
            halt(int(number), Path(marker))
        case _:
            sys.exit(__doc__)
    main(rest)
