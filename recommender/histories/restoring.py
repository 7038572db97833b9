"""What a term of leadership begins with: the histories of the last one, as far as they were saved."""

from dataclasses import dataclass, replace

import numpy as np
import structlog

from recommender.bank.kernels import Kernels
from recommender.checkpoints.snapshot import PendingBackfill, Snapshot
from recommender.histories.histories import IDLE_SECONDS, Histories
from recommender.keys import WorkloadKey

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a term begins with.

    Attributes:
        histories: the usage of workloads.
        keys: whose it is.
        cursor: the time up to which usage is in them; None where there is none.
        pending: what is still to be read of the past.
    """

    histories: Histories
    keys: tuple[WorkloadKey, ...] = ()
    cursor: float | None = None
    pending: tuple[PendingBackfill, ...] = ()


def restored(
    snapshot: Snapshot | None,
    *,
    half_life: float,
    peak_window: float,
    now: float,
    kernels: Kernels | None = None,
) -> Inheritance:
    """Take saved histories up; where there are none that today's settings go on with they begin anew.

    Takes a second for 100,000 workloads, and is made for a thread.

    Args:
        snapshot: what was saved; None for nothing.
        half_life: of the histograms, in seconds.
        peak_window: seconds in which a pod's VRAM counts by its peak only.
        now: seconds since the epoch.
        kernels: runs the loops over histograms; numpy's where none are given.
    """

    def begun() -> Histories:
        return Histories(half_life=half_life, peak_window=peak_window, now=now, kernels=kernels)

    histories = begun()
    if snapshot is None:
        return Inheritance(histories)
    snapshot = _not_too_old(_not_of_the_future(snapshot, now), now)
    try:
        histories.restore(snapshot)
    except ValueError as error:
        logger.warning("saved histories cannot be gone on with, and begin anew", reason=str(error))
        return Inheritance(begun())
    return Inheritance(histories, snapshot.keys, snapshot.cursor, snapshot.backfill)


def _not_of_the_future(snapshot: Snapshot, now: float) -> Snapshot:
    """A snapshot that was taken while the clock was ahead, as one of now.

    What usage there is until now it may hold; what comes from now on it cannot, but for samples that it has:
    those count no second time, should today's clock be the one that is wrong.
    """
    snapshot = replace(snapshot, until=np.fmax(np.minimum(snapshot.until, now), snapshot.touched))
    if snapshot.cursor is None or snapshot.cursor <= now:
        return snapshot
    logger.warning("histories were saved by a clock that was ahead", seconds=snapshot.cursor - now)
    return replace(snapshot, cursor=now)


def _not_too_old(snapshot: Snapshot, now: float) -> Snapshot:
    """A snapshot of long ago, gone on with from where usage still counts: to read all would take hours."""
    earliest = now - IDLE_SECONDS
    if snapshot.cursor is None or snapshot.cursor >= earliest:
        return snapshot
    logger.warning(
        "histories were saved long ago; usage of the time between is left out",
        seconds=earliest - snapshot.cursor,
        begin=snapshot.cursor,
        until=earliest,
    )
    return replace(snapshot, cursor=earliest)
