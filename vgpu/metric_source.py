"""The metric source of the services that read usage: its settings, and the check of them at start."""

from collections.abc import Iterator
from typing import Literal

import structlog
from pydantic import Field

from vgpu.gpu_peaks import GpuPeaksSettings
from vgpu.prometheus import BadQuery, PrometheusClient, PrometheusError
from vgpu.settings import Seconds, WebAddress
from vgpu.usage_sources import PRESETS, Preset

log = structlog.get_logger(__name__)


class MetricSourceSettings(GpuPeaksSettings):
    """Where usage is read, for every service that reads it."""

    prometheus_url: WebAddress = Field(
        "http://prometheus-server.monitoring.svc", description="Base address of the Prometheus HTTP API"
    )
    prometheus_timeout: Seconds = Field(10, gt=0, description="How long one query may take")
    preset: Literal["tensorfusion"] = Field(
        "tensorfusion", description="Exporter that the usage comes from: names of its metrics and labels"
    )
    tflops_query: str | None = Field(
        None, min_length=1, description="PromQL selector of TFLOPS in use; none: that of the preset"
    )
    vram_query: str | None = Field(
        None, min_length=1, description="PromQL selector of VRAM in use, in bytes; none: that of the preset"
    )

    def usage(self) -> Preset:
        """The preset, with the selectors that were set in place of its own."""
        preset = PRESETS[self.preset]
        return preset.with_selectors(tflops=self.tflops_query, vram=self.vram_query)

    def selectors(self) -> Iterator[tuple[str, str]]:
        """Each selector that is asked for, after the name of the setting that it comes from."""
        usage = self.usage()
        yield "preset" if self.tflops_query is None else "tflops_query", usage.tflops
        yield "preset" if self.vram_query is None else "vram_query", usage.vram


async def require_valid_queries(source: PrometheusClient, settings: MetricSourceSettings) -> None:
    """Has the source parse the selectors, in a range as they are read.

    A source that is away does not stop a start: it is asked again with every poll.

    Raises:
        BadQuery: The source refuses a selector; the error names the setting.
    """
    for setting, selector in settings.selectors():
        try:
            await source.require_valid(f"max_over_time({selector}[1s])", setting=setting)
        except BadQuery:
            raise
        except PrometheusError as error:
            log.warning("metric source is not there yet", error=str(error))
            return
