import math
import random

import pytest

from recommender.bank.buckets import TFLOPS, Buckets
from recommender.bank.histograms import HistogramBank
from recommender.bank.vpa_checkpoint import Checkpoint
from tests.support.reference_histogram import LinearBuckets, inside

DAY = 24 * 3600.0
START = 1_700_000_000.0
LINEAR = LinearBuckets(width=1, maximum=10)


def bank_of(buckets: Buckets = LINEAR, *, rows: int = 1) -> HistogramBank:
    bank = HistogramBank(buckets, half_life=DAY, reference=START)
    for _ in range(rows):
        bank.add_row()
    return bank


@pytest.mark.parametrize(
    ("weights", "stored", "total"),
    [
        ({1: 1, 2: 10000, 3: 50}, {1: 1, 2: 10000, 3: 50}, 10051),
        ({1: 1, 2: 100000}, {2: 10000}, 100001),
        ({}, {}, 0),
    ],
)
def test_a_checkpoint_holds_rounded_weights(
    weights: dict[int, float], stored: dict[int, int], total: float
) -> None:
    bank = bank_of()
    bank.add([0] * len(weights), list(weights), list(weights.values()), START)
    assert bank.export_row(0) == Checkpoint(stored, total, START)


def test_a_checkpoint_is_loaded_by_its_total() -> None:
    bank = bank_of()
    bank.add([0], [7], 1, START)
    bank.import_row(0, Checkpoint({1: 10000, 2: 5000}, total=30, reference=START))
    assert bank.weights(0)[[1, 2, 7]].tolist() == [20, 10, 0]


@pytest.mark.parametrize(("days", "factor"), [(-2.0, 0.25), (0.5, 2**0.5), (5.0, 1.0)])
def test_a_checkpoint_of_another_reference_is_aligned(days: float, factor: float) -> None:
    bank = bank_of()
    bank.import_row(0, Checkpoint({1: 10000}, total=8, reference=START + days * DAY))
    assert bank.totals([0])[0] == pytest.approx(8 * factor, rel=1e-6)


def test_export_and_import_keep_percentiles_but_for_ties() -> None:
    bank, usage = bank_of(TFLOPS, rows=2), random.Random(3)
    bank.add([0] * 999, [inside(TFLOPS, int(usage.gauss(80, 10)), 0.5) for _ in range(999)], 0.1, START)
    bank.import_row(1, bank.export_row(0))
    answers = bank.percentiles([0, 1], [0.5, 0.9, 0.95])
    assert (answers[0] == answers[1]).all()


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint({11: 1}, 1, START),
        Checkpoint({-1: 1}, 1, START),
        Checkpoint({1: -1}, 1, START),
        Checkpoint({1: 1}, -1, START),
        Checkpoint({1: 1}, math.nan, START),
        Checkpoint({1: 1}, math.inf, START),
        Checkpoint({1: 1}, 1e300, START),
        Checkpoint({1: 1}, 1, math.nan),
    ],
    ids=str,
)
def test_a_corrupt_checkpoint_is_refused_and_the_row_stays(checkpoint: Checkpoint) -> None:
    bank = bank_of()
    bank.add([0], [7], 1, START)
    with pytest.raises(ValueError, match=r"checkpoint|weight"):
        bank.import_row(0, checkpoint)
    assert bank.weights(0)[7] == 1


def test_a_checkpoint_without_weights_empties_the_row() -> None:
    bank = bank_of()
    bank.add([0], [7], 1, START)
    bank.import_row(0, Checkpoint({}, 0, START))
    assert bank.is_empty([0]).tolist() == [True]
