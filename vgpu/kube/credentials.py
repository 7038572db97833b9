"""Where kube-apiserver is and who is asking: kubeconfig or service account, read by kubernetes-asyncio."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_kube_config
from kubernetes_asyncio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)

from vgpu.kube.errors import KubeConfigError

# What kubernetes-asyncio raises over a kubeconfig that is not one: more than its own exception.
_LOAD_ERRORS = (
    ConfigException,
    yaml.YAMLError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
)
_EXEC_PLUGIN_TIMEOUT = 60.0


class Credentials:
    """A loaded configuration: server address, TLS context and the Authorization header, kept fresh."""

    def __init__(self, configuration: Configuration, *, source: str, kubeconfig: str | None) -> None:
        self.server: str = (configuration.host or "").rstrip("/")
        self.source = source
        self.proxy: str | None = configuration.proxy
        self.tls_server_name: str | None = configuration.tls_server_name
        self._configuration = configuration
        self._kubeconfig = kubeconfig
        if urlsplit(self.server).scheme not in {"http", "https"}:
            raise KubeConfigError(
                f"{source}: the server address {self.server!r} must start with https:// or http://"
            )
        self.ssl_context = self._make_ssl_context()

    @classmethod
    async def load(cls, kubeconfig: Path | None, *, environ: Mapping[str, str] = os.environ) -> Self:
        """Load the given kubeconfig, else $KUBECONFIG, else the pod's service account, else ~/.kube/config.

        Raises:
            KubeConfigError: naming the file, and what is wrong with it.
        """
        if kubeconfig is not None:
            return await cls._from_kubeconfig(str(kubeconfig), f"kubeconfig {kubeconfig}")
        if paths := environ.get("KUBECONFIG"):
            return await cls._from_kubeconfig(paths, f"kubeconfig {paths} (from $KUBECONFIG)")
        if environ.get("KUBERNETES_SERVICE_HOST"):
            return cls._from_service_account()
        path = Path.home() / ".kube" / "config"
        return await cls._from_kubeconfig(str(path), f"kubeconfig {path} (the default)")

    async def authorization(self) -> str | None:
        """The Authorization header; a service account's token file is read again once a minute."""
        try:
            header = await self._configuration.get_api_key_with_prefix("BearerToken")
        except _LOAD_ERRORS as error:
            raise KubeConfigError(f"{self.source}: the token cannot be read again: {error}") from error
        return header.strip() if isinstance(header, str) else None

    async def reload(self) -> Self:
        """Read everything again, after kube-apiserver refused it: tokens and exec plugins' answers expire."""
        if self._kubeconfig is None:
            return self._from_service_account()
        return await self._from_kubeconfig(self._kubeconfig, self.source)

    @classmethod
    async def _from_kubeconfig(cls, paths: str, source: str) -> Self:
        if not _any_file(paths):
            raise KubeConfigError(
                f"{source} does not exist; give --kubeconfig, set KUBECONFIG, or run inside a cluster"
            )
        configuration = Configuration()
        try:
            async with asyncio.timeout(_EXEC_PLUGIN_TIMEOUT):
                await load_kube_config(paths, client_configuration=configuration, persist_config=False)
            return cls(configuration, source=source, kubeconfig=paths)
        except _LOAD_ERRORS as error:
            raise KubeConfigError(f"{source} cannot be used: {_explain(error)}") from error

    @classmethod
    def _from_service_account(cls) -> Self:
        configuration = Configuration()
        source = "the pod's service account"
        try:
            InClusterConfigLoader(SERVICE_TOKEN_FILENAME, SERVICE_CERT_FILENAME).load_and_set(configuration)
            return cls(configuration, source=source, kubeconfig=None)
        except _LOAD_ERRORS as error:
            raise KubeConfigError(f"{source} cannot be used: {_explain(error)}") from error

    def _make_ssl_context(self) -> ssl.SSLContext | None:
        if urlsplit(self.server).scheme == "http":
            return None
        configuration = self._configuration
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _any_file(paths: str) -> bool:
    return any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path)


def _explain(error: BaseException) -> str:
    if isinstance(error, ConfigException | yaml.YAMLError | OSError | ValueError) and str(error):
        return str(error)
    # A bare TypeError or assertion of the loader: some section is absent or of the wrong kind.
    return f"it needs a current-context with its cluster and user ({type(error).__name__}: {error})"
