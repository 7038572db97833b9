"""Whose a sample is, where its time decides: of a name that was handed on, of a card that was shared."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import FloatArray, IndexArray
from vgpu.usage_sources import PodGpu

BoolArray = npt.NDArray[np.bool_]

_NOBODY: Final = -1


def hand_back(
    rows: IndexArray, times: FloatArray, *, before: Mapping[int, int], since: FloatArray
) -> IndexArray:
    """Give samples from before a pod was there to the one that had its name then.

    Args:
        rows: the row of each sample, that of the last pod of the name, shape (n,).
        times: of the samples, in seconds since the epoch, shape (n,).
        before: of rows of pods, that of the pod which had the name before; it is an older one.
        since: the time up to which samples are not yet those of the pod of a row, shape (rows,).

    Returns:
        The row of each sample's own pod, shape (n,); a step in which a name was handed on is the latter's.
    """
    previous = np.full(len(since), _NOBODY, np.intp)
    previous[list(before)] = list(before.values())
    while (earlier := (previous[rows] != _NOBODY) & (times <= since[rows])).any():
        rows = np.where(earlier, previous[rows], rows)
    return rows


def shared_cards(gpus: Sequence[PodGpu], of: IndexArray, times: FloatArray) -> BoolArray:
    """Which samples are of a card that other pods, ours or not, have at the same time.

    Args:
        gpus: GPUs of pods.
        of: which of them each sample is of, -1 where nobody knows, shape (n,).
        times: of the samples, in seconds since the epoch, shape (n,).
    """
    cards: dict[str, int] = {}
    names: dict[tuple[str, str], int] = {}
    card_of = [cards.setdefault(gpu.gpu, len(cards)) if gpu.gpu else _NOBODY for gpu in gpus]
    name_of = [names.setdefault((gpu.namespace, gpu.pod), len(names)) for gpu in gpus]
    card, name = np.array([*card_of, _NOBODY])[of], np.array([*name_of, _NOBODY])[of]
    known = np.flatnonzero(card != _NOBODY)
    order = known[np.lexsort((name[known], times[known], card[known]))]
    same = (np.diff(card[order]) == 0) & (np.diff(times[order]) == 0)
    groups = np.concatenate(([0], np.cumsum(~same))) if len(order) else order
    several = np.unique(groups[1:][same & (np.diff(name[order]) != 0)])
    shared = np.zeros(len(times), np.bool_)
    shared[order[np.isin(groups, several)]] = True
    return shared
