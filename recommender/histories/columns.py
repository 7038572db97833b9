"""What is known of each workload beside its histograms: counts of its samples, and how it is configured."""

from typing import Final

import numpy as np

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.histories.estimators import confidence
from vgpu.api import AutoSetResources
from vgpu.slices import Resource

_DEFAULT: Final = AutoSetResources()


class HistoryColumns:
    """Arrays with an element for each row of the banks; they grow as rows are taken.

    Attributes:
        first: time of the first TFLOPS sample in seconds since the epoch, NaN before it.
        last: time of the latest TFLOPS sample, NaN before it.
        samples: TFLOPS samples of all pods, never decayed.
        touched: time of the latest sample of either resource, minus infinity before it.
        until: up to when a row holds every sample, so that none counts again; minus infinity where nothing
            may come again: of rows that were not restored, while no clock was put right.
        percentiles: those of target, lower and upper bound, three for each row and resource.
        margin: the safety margin, a fraction.
        interval: the confidence interval, seconds.
    """

    def __init__(self) -> None:
        self.first: FloatArray = np.full(0, np.nan)
        self.last: FloatArray = np.full(0, np.nan)
        self.samples = np.zeros(0, dtype=np.int64)
        self.touched: FloatArray = np.full(0, -np.inf)
        self.until: FloatArray = np.full(0, -np.inf)
        self.percentiles: dict[Resource, FloatArray] = {resource: np.zeros((0, 3)) for resource in Resource}
        self.margin: FloatArray = np.zeros(0)
        self.interval: FloatArray = np.zeros(0)

    def begin(self, rows: IndexArray) -> None:
        """Take rows into use, as new, whatever they were used for before."""
        most = int(rows.max(initial=-1))
        if most >= len(self.first):
            self._grow(max(64, 2 * most))
        self.first[rows] = self.last[rows] = np.nan
        self.samples[rows] = 0
        self.touched[rows] = self.until[rows] = -np.inf
        self.configure(rows, _DEFAULT)

    def configure(self, rows: IndexArray, config: AutoSetResources) -> None:
        """Set how rows are estimated."""
        for resource in Resource:
            self.percentiles[resource][rows] = config.percentiles(resource)
        self.margin[rows] = config.request_margin_fraction
        self.interval[rows] = config.confidence_interval

    def touch(self, rows: IndexArray, times: FloatArray) -> None:
        """Take note of samples of any resource."""
        np.maximum.at(self.touched, rows, times)

    def hold_what_came(self) -> None:
        """Let all rows hold every sample up to the latest that they have."""
        self.until[:] = self.touched

    def count(self, rows: IndexArray, times: FloatArray) -> None:
        """Take note of TFLOPS samples."""
        np.fmin.at(self.first, rows, times)
        np.fmax.at(self.last, rows, times)
        np.add.at(self.samples, rows, 1)

    def confidence(self, rows: IndexArray) -> FloatArray:
        """How far the bounds of rows can be trusted, by their TFLOPS samples, shape (n,)."""
        return confidence(self.first[rows], self.last[rows], self.samples[rows], self.interval[rows])

    def _grow(self, capacity: int) -> None:
        for name, array in vars(self).items():
            larger = (
                {resource: _enlarged(part, capacity) for resource, part in array.items()}
                if isinstance(array, dict)
                else _enlarged(array, capacity)
            )
            setattr(self, name, larger)


def _enlarged(array: FloatArray, capacity: int) -> FloatArray:
    larger = np.zeros((capacity, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
