"""Certificates that a service makes for itself, and the TLS context it serves them with."""

import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from vgpu.authority import Authority


@dataclass(frozen=True, slots=True)
class ServingPair:
    """A serving certificate with its key, and the CA that clients verify it by. All PEM."""

    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return f"ServingPair(expires={self.expires.isoformat()})"

    @property
    def expires(self) -> datetime:
        """When the serving certificate ends (UTC)."""
        return x509.load_pem_x509_certificate(self.certificate_pem).not_valid_after_utc


def issue_serving_pair(
    *, dns_names: Sequence[str], ip_addresses: Sequence[str] = (), now: datetime, common_name: str
) -> ServingPair:
    """Make a CA (10 years) and a serving certificate (1 year) signed by it, both ECDSA P-256.

    The CA's key is thrown away: it signs this one certificate, and a rotation makes a CA of its own.

    Args:
        dns_names: Names that clients may call the server by.
        ip_addresses: Addresses that clients may call it by.
        now: The time, with a time zone.
        common_name: Who it is, for people; cut to 64 characters.

    Raises:
        ValueError: There is no name and no address at all, or one that cannot stand in a certificate.
    """
    authority = Authority(f"{common_name[:50]} CA", now=now)
    pair = authority.server(common_name, names=dns_names, addresses=ip_addresses)
    return ServingPair(ca_pem=authority.certificate, certificate_pem=pair.certificate, key_pem=pair.key)


def server_context(pair: ServingPair, *, client_ca_pem: bytes | None = None) -> ssl.SSLContext:
    """A context for serving over TLS 1.2 or later.

    Args:
        pair: What is served.
        client_ca_pem: CAs of client certificates, any number in one PEM. Clients may then show a certificate,
            and one that these CAs did not sign ends the handshake; clients without one are let through, so
            whoever demands one looks at the connection's peer certificate.

    Raises:
        ssl.SSLError: A certificate or key is not one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with _private_file(pair.certificate_pem + pair.key_pem) as path:
        context.load_cert_chain(path)
    if client_ca_pem is not None:
        context.load_verify_locations(cadata=client_ca_pem.decode("ascii"))
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextmanager
def _private_file(content: bytes) -> Iterator[str]:
    """A path to the content for libraries that only take paths: in memory where the system can (Linux)."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("certificate"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "certificate.pem")
        path.touch(mode=0o600)
        path.write_bytes(content)
        yield str(path)
