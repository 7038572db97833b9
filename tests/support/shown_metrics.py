"""What a service shows at /metrics, at one moment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT = aiohttp.ClientTimeout(total=10)

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ShownMetrics:
    """One scrape.

    Attributes:
        samples: of each metric the value by labels.
    """

    samples: Mapping[str, Mapping[Labels, float]]

    @classmethod
    async def scrape(cls, url: str) -> Self:
        """Read the metrics at this address."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url) as response:
            response.raise_for_status()
            return cls.parse(await response.text())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read Prometheus' text format."""
        samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return cls(samples)

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the only series that has these labels; None where there is none."""
        found = list(self._matching(name, labels))
        assert len(found) < 2, f"{name} has {len(found)} series with {labels}"
        return found[0] if found else None

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series with these labels; 0 where there are none."""
        return sum(self._matching(name, labels))

    def label_values(self, name: str, label: str) -> set[str]:
        """All values of a label of a metric."""
        return {dict(labels)[label] for labels in self.samples.get(name, {})}

    def described(self, name: str) -> str:
        """All series of a metric, for a person."""
        series = self.samples.get(name, {}).items()
        return ", ".join(f"{dict(sorted(labels))} {value:g}" for labels, value in series)

    def _matching(self, name: str, labels: Mapping[str, str]) -> Iterator[float]:
        wanted = set(labels.items())
        return (value for have, value in self.samples.get(name, {}).items() if wanted <= have)
