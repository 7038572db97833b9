"""The parts that ask external scalers, made by the recommender's settings."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from recommender.external_scaler.addresses import AllowList
from recommender.external_scaler.asking import ScalerAsker
from recommender.external_scaler.book import ScalerBook
from recommender.external_scaler.client import ScalerClient
from recommender.external_scaler.secrets import Tokens
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from recommender.settings import RecommenderSettings
from vgpu.kube.client import KubeClient
from vgpu.kube.objects import CustomObject


@dataclass(frozen=True, slots=True)
class Scalers:
    """What decisions look things up in, and what asks for it."""

    book: ScalerBook
    asker: ScalerAsker

    @classmethod
    def from_settings(
        cls,
        settings: RecommenderSettings,
        *,
        client: KubeClient,
        find: Callable[[WorkloadKey], CustomObject | None],
        changed: Callable[[WorkloadKey], None],
        metrics: RecommenderMetrics,
        clock: Callable[[], float],
    ) -> Self:
        """Make them; nothing is sent yet.

        Args:
            settings: what the operator allows.
            client: reads Secrets.
            find: a workload as it is known now.
            changed: told of a workload about which something else is to be decided now.
            metrics: counts requests.
            clock: seconds since the epoch.
        """
        allowed = AllowList(settings.external_scaler_urls)
        book = ScalerBook(enabled=bool(allowed), interval=settings.interval, changed=changed)
        asker = ScalerAsker(
            book=book,
            allowed=allowed,
            client=ScalerClient(allow_local=settings.external_scaler_allow_local),
            tokens=Tokens(client=client, clock=time.monotonic),
            find=find,
            metrics=metrics,
            clock=clock,
            at_once=settings.external_scaler_concurrency,
        )
        return cls(book, asker)
