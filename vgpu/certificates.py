"""Certificates that a service makes for itself, and the TLS context it serves them with."""

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE: Final = timedelta(days=3650)
LEAF_LIFE: Final = timedelta(days=365)
# A certificate is valid a little before it is made: the clocks of two machines differ.
_CLOCK_SKEW: Final = timedelta(minutes=5)
# X.520's upper bound of a common name; names are verified by the subject alternative names alone.
_COMMON_NAME_LENGTH: Final = 64


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
    if not dns_names and not ip_addresses:
        raise ValueError("a serving certificate needs at least one DNS name or address")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    ca = _ca(_name(f"{common_name[:50]} CA"), ca_key, now=now)
    names = [*(x509.DNSName(name) for name in dns_names), *(_address(text) for text in ip_addresses)]
    leaf = _leaf(_name(common_name), key, names=names, ca=ca, ca_key=ca_key, now=now)
    return ServingPair(ca_pem=_pem(ca), certificate_pem=_pem(leaf), key_pem=_key_pem(key))


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


def _ca(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, now: datetime) -> x509.Certificate:
    builder = _builder(subject, subject, key.public_key(), now=now, life=CA_LIFE)
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    names: list[x509.GeneralName],
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(subject, ca.subject, key.public_key(), now=now, life=LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_COMMON_NAME_LENGTH])])


def _address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


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
