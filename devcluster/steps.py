"""What the build of the control plane tells while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What is being done for one program."""

    WAITING = "waiting for another process that builds the same"
    RESOLVING = "looking at what is to be compiled"
    DOWNLOADING = "downloading sources"
    COMPILING = "compiling"
    LINKING = "linking"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of the build.

    `position` of `count` programs is at work; of its packages `done` of `total` are compiled (total 0: not
    yet known); `elapsed` is in seconds since the build began.
    """

    tool: str
    position: int
    count: int
    phase: Phase
    elapsed: float
    done: int = 0
    total: int = 0
    item: str = ""


Report = Callable[[Progress], None]
