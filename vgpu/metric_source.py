"""The metric source of the services that read usage: its settings, and the check of them at start."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import structlog
from pydantic import Field, SecretStr, model_validator

from vgpu.gpu_peaks import GpuPeaksSettings
from vgpu.headers import Headers
from vgpu.prometheus import Access, BadQuery, PrometheusClient, PrometheusError
from vgpu.settings import Bytes, FilePath, Seconds, WebAddress
from vgpu.slices import Resource
from vgpu.usage_sources import Preset, Unit, choose, probe

log = structlog.get_logger(__name__)


class MetricSourceSettings(GpuPeaksSettings):
    """Where usage is read, for every service that reads it."""

    prometheus_url: WebAddress = Field(
        "http://prometheus-server.monitoring.svc", description="Base address of the Prometheus HTTP API"
    )
    prometheus_timeout: Seconds = Field(
        10, gt=0, description="How long one query may take, further attempts included"
    )
    prometheus_retries: int = Field(
        2, ge=0, le=10, description="How often a query is tried again where the trouble may pass"
    )
    prometheus_max_answer: Bytes = Field(
        48 << 20, ge=1 << 10, description="How much of an answer is read, after decompression"
    )
    prometheus_username: str | None = Field(None, min_length=1, description="User of basic authentication")
    prometheus_password: SecretStr | None = Field(None, description="Its password")
    prometheus_password_file: FilePath | None = Field(
        None, description="File that holds the password instead; read again when it changes"
    )
    prometheus_bearer_token_file: FilePath | None = Field(
        None, description="File that holds a bearer token; read again when it changes"
    )
    prometheus_ca_file: FilePath | None = Field(
        None, description="PEM file of the CAs that the server is verified by; none: those of the system"
    )
    prometheus_client_certificate: FilePath | None = Field(
        None, description="PEM file of the client certificate to show; read again when it changes"
    )
    prometheus_client_key: FilePath | None = Field(None, description="PEM file of its key")
    prometheus_server_name: str | None = Field(
        None, min_length=1, description="Name that the server's certificate is for; none: the address's host"
    )
    prometheus_headers: Headers = Field(
        {}, description="Headers sent with every query, such as X-Scope-OrgID", repr=False
    )
    preset: Literal["tensorfusion", "tensorfusion-greptimedb", "hami", "dcgm", "custom"] = Field(
        "tensorfusion",
        description=(
            "Exporter that the usage comes from: names of its metrics and labels; with custom, tflops_query "
            "and vram_query say it all"
        ),
    )
    tflops_query: str | None = Field(
        None, min_length=1, description="PromQL of TFLOPS in use; none: that of the preset"
    )
    vram_query: str | None = Field(
        None, min_length=1, description="PromQL of VRAM in use, in bytes; none: that of the preset"
    )
    tflops_unit: Unit | None = Field(
        None,
        description=(
            "What tflops_query gives: tflops, or ratio or percent of the card; with preset hami, what its "
            "exporter gives. None: tflops, or as the preset has it"
        ),
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = [*self._authentication(), *self._encryption(), *self._missing_files()]
        if problems:
            raise ValueError("; ".join(problems))
        self.usage()
        return self

    def usage(self) -> Preset:
        """The preset, with the queries that were set in place of its own."""
        return choose(
            self.preset,
            tflops_query=self.tflops_query,
            vram_query=self.vram_query,
            tflops_unit=self.tflops_unit,
        )

    def probes(self) -> Iterator[tuple[str, str]]:
        """What tells whether the source takes each query, after the setting that the query comes from."""
        usage = self.usage()
        yield "preset" if self.tflops_query is None else "tflops_query", probe(usage, Resource.TFLOPS)
        yield "preset" if self.vram_query is None else "vram_query", probe(usage, Resource.VRAM)

    def access(self) -> Access:
        """How to come to the source."""
        return Access(
            username=self.prometheus_username,
            password=self.prometheus_password,
            password_file=self.prometheus_password_file,
            bearer_token_file=self.prometheus_bearer_token_file,
            ca_file=self.prometheus_ca_file,
            client_certificate=self.prometheus_client_certificate,
            client_key=self.prometheus_client_key,
            server_name=self.prometheus_server_name,
            headers=self.prometheus_headers,
        )

    def _authentication(self) -> Iterator[str]:
        user, token = self.prometheus_username, self.prometheus_bearer_token_file
        ways = {
            "prometheus_username": user is not None,
            "prometheus_bearer_token_file": token is not None,
            "a user in prometheus_url": urlsplit(self.prometheus_url).username is not None,
            "an Authorization header": any(
                name.lower() == "authorization" for name in self.prometheus_headers
            ),
        }
        given = [way for way, is_given in ways.items() if is_given]
        if len(given) > 1:
            yield f"{' and '.join(given)} are different ways to authenticate: give one"
        passwords = [self.prometheus_password, self.prometheus_password_file]
        count = sum(password is not None for password in passwords)
        if user is not None and count == 0:
            yield "prometheus_username needs prometheus_password_file or prometheus_password"
        if user is None and count:
            yield "a password needs prometheus_username"
        if count > 1:
            yield "prometheus_password and prometheus_password_file are both given: give one"
        if user is not None and ":" in user:
            yield "prometheus_username cannot have a colon in it"

    def _encryption(self) -> Iterator[str]:
        certificate, key = self.prometheus_client_certificate, self.prometheus_client_key
        if (certificate is None) != (key is None):
            yield "prometheus_client_certificate and prometheus_client_key go together, maybe as one file"
        of_tls = {
            "prometheus_ca_file": self.prometheus_ca_file,
            "prometheus_client_certificate": certificate,
            "prometheus_server_name": self.prometheus_server_name,
        }
        if not self.prometheus_url.startswith("https:"):
            for setting, value in of_tls.items():
                if value is not None:
                    yield f"{setting} needs a prometheus_url that begins with https://"

    def _missing_files(self) -> Iterator[str]:
        files = {
            "prometheus_password_file": self.prometheus_password_file,
            "prometheus_bearer_token_file": self.prometheus_bearer_token_file,
            "prometheus_ca_file": self.prometheus_ca_file,
            "prometheus_client_certificate": self.prometheus_client_certificate,
            "prometheus_client_key": self.prometheus_client_key,
        }
        for setting, path in files.items():
            if path is not None and (problem := _unreadable(path)):
                yield f"{setting} {path} {problem}"


def open_source(settings: MetricSourceSettings) -> PrometheusClient:
    """A client for the metric source; it is to be used inside of `async with`."""
    return PrometheusClient(
        settings.prometheus_url,
        timeout=settings.prometheus_timeout,
        retries=settings.prometheus_retries,
        max_answer_bytes=settings.prometheus_max_answer,
        access=settings.access(),
    )


async def require_valid_queries(source: PrometheusClient, settings: MetricSourceSettings) -> None:
    """Has the source parse the queries as they are asked.

    A source that is away does not stop a start: it is asked again with every poll.

    Raises:
        BadQuery: The source refuses a query; the error names the setting.
    """
    for setting, query in settings.probes():
        try:
            await source.require_valid(query, setting=setting)
        except BadQuery:
            raise
        except PrometheusError as error:
            log.warning("metric source is not there yet", error=str(error))
            return


def _unreadable(path: Path) -> str:
    if not path.is_file():
        return "is no file"
    return "" if os.access(path, os.R_OK) else "must not be read by this process"
