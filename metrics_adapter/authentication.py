"""Who asks: kube-apiserver's front proxy, known by its client certificate, and nobody else.

kube-apiserver authenticates and authorizes a user's request for metrics before it passes it on, so a request
that comes with the front proxy's certificate is allowed. Requests that come straight to the adapter are
refused, whoever makes them: it has no authorization of its own. The header that names the user
(X-Remote-User) is only looked at behind that certificate; without it anyone could write it.

The ConfigMap is read once, at start: after a rotation of the front proxy's CA the adapter must be restarted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from multidict import CIMultiDictProxy
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from metrics_adapter.errors import AccessDenied, FrontProxyUnknown, Unauthenticated
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import NotFound
from vgpu.kube.objects import ConfigMap
from vgpu.kube.resources import CONFIG_MAPS

NAMESPACE = "kube-system"
CONFIG_MAP = "extension-apiserver-authentication"
_CA = "requestheader-client-ca-file"

PeerCertificate = Mapping[str, Any]
"""A verified client certificate as `ssl.SSLSocket.getpeercert` describes it."""


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """How the front proxy is recognised, and where it says that it asks for a user.

    Attributes:
        ca_pem: CAs of its client certificate.
        allowed_names: Common names it may have; empty: any that the CA signed.
        username_headers: Headers that may hold the user's name.
    """

    ca_pem: bytes
    allowed_names: frozenset[str] = frozenset()
    username_headers: tuple[str, ...] = ("X-Remote-User",)

    @classmethod
    def from_config_map(cls, data: Mapping[str, str]) -> "FrontProxy":
        """Read the data of the ConfigMap that kube-apiserver publishes.

        Raises:
            FrontProxyUnknown: it names no CA, or a list in it cannot be read.
        """
        ca = data.get(_CA, "")
        if not ca.strip():
            raise FrontProxyUnknown(
                f"ConfigMap {NAMESPACE}/{CONFIG_MAP} has no {_CA}: the aggregation layer is off; start "
                "kube-apiserver with --requestheader-client-ca-file and --proxy-client-cert-file"
            )
        return cls(
            ca_pem=ca.encode(),
            allowed_names=frozenset(_names(data, "requestheader-allowed-names")),
            username_headers=tuple(_names(data, "requestheader-username-headers")),
        )

    def require(self, certificate: PeerCertificate | None, headers: CIMultiDictProxy[str]) -> None:
        """Make sure that the front proxy asks, and for a user.

        Args:
            certificate: The client's, which TLS has verified against `ca_pem`; None or empty without one.
            headers: Of the request.

        Raises:
            Unauthenticated: the certificate is good, but not of the front proxy.
            AccessDenied: there is no certificate, or no user.
        """
        if not certificate:
            raise _denied()
        if self.allowed_names and _common_name(certificate) not in self.allowed_names:
            raise Unauthenticated("Unauthorized")
        if not any(headers.get(header) for header in self.username_headers):
            raise _denied()


async def load_front_proxy(client: KubeClient, *, timeout: float) -> FrontProxy:
    """Read the ConfigMap; a kube-apiserver that has just started publishes it a moment later.

    Raises:
        FrontProxyUnknown: it is not there, or says nothing of a front proxy.
        KubeError: kube-apiserver did not answer, or may not show it to us.
    """
    retrying = AsyncRetrying(
        stop=stop_after_delay(timeout),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        retry=retry_if_exception_type((NotFound, FrontProxyUnknown)),
        reraise=True,
    )
    try:
        return await retrying(_read, client)
    except NotFound as error:
        raise FrontProxyUnknown(
            f"ConfigMap {NAMESPACE}/{CONFIG_MAP} does not exist, so kube-apiserver cannot be recognised; "
            "it publishes that when it is started with --requestheader-client-ca-file"
        ) from error


async def _read(client: KubeClient) -> FrontProxy:
    found = await client.get(CONFIG_MAPS, CONFIG_MAP, namespace=NAMESPACE, type=ConfigMap)
    return FrontProxy.from_config_map(found.data or {})


def _names(data: Mapping[str, str], key: str) -> Sequence[str]:
    try:
        return msgspec.json.decode(data.get(key) or "[]", type=list[str])
    except msgspec.DecodeError as error:
        raise FrontProxyUnknown(
            f"ConfigMap {NAMESPACE}/{CONFIG_MAP}: {key} is not a JSON list of strings: {error}"
        ) from error


def _common_name(certificate: PeerCertificate) -> str:
    subject: Sequence[Sequence[tuple[str, str]]] = certificate.get("subject", ())
    names = [value for part in subject for field, value in part if field == "commonName"]
    # Of several common names the last one counts, as in Go's crypto/x509.
    return names[-1] if names else ""


def _denied() -> AccessDenied:
    return AccessDenied(
        'forbidden: User "system:anonymous" cannot get metrics from the adapter itself; ask kube-apiserver'
    )
