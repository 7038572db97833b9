"""A certificate authority of one's own, and what it signs: certificates of servers and of clients."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE: Final = timedelta(days=3650)
LEAF_LIFE: Final = timedelta(days=365)
# A certificate is valid a little before it is made: the clocks of two machines differ.
_CLOCK_SKEW: Final = timedelta(minutes=5)
# X.520's upper bound of a common name; servers are verified by their alternative names alone.
_COMMON_NAME_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair()"

    def write(self, folder: Path, name: str) -> "PairFiles":
        """Write `<name>.crt` and, readable for the owner only, `<name>.key`."""
        files = PairFiles(certificate=folder / f"{name}.crt", key=folder / f"{name}.key")
        files.certificate.write_bytes(self.certificate)
        files.key.touch(mode=0o600)
        files.key.write_bytes(self.key)
        return files


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Where a certificate and its key are."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority (ECDSA P-256, 10 years) made at `now`; its key never leaves it.

    Args:
        common_name: Who it is, for people; cut to 64 characters.
        now: The time, with a time zone; what it signs is valid from then on, for a year.
    """

    def __init__(self, common_name: str, *, now: datetime) -> None:
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(common_name)
        signed = (
            self._builder(self._name, self._key.public_key(), life=CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(certificate_sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = signed.public_bytes(serialization.Encoding.PEM)

    def client(self, common_name: str, *, groups: Sequence[str] = ()) -> Pair:
        """A certificate that names a user: `common_name`, in `groups`."""
        return self._issue(_name(common_name, groups), ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def server(self, common_name: str, *, names: Sequence[str], addresses: Sequence[str] = ()) -> Pair:
        """A certificate for a server under these DNS names and IP addresses.

        Raises:
            ValueError: There is no name and no address at all, or one that cannot stand in a certificate.
        """
        if not names and not addresses:
            raise ValueError("a serving certificate needs at least one DNS name or address")
        alternatives = [
            *(x509.DNSName(name) for name in names),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
        return self._issue(_name(common_name), ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def _issue(
        self, subject: x509.Name, purpose: x509.ObjectIdentifier, names: Sequence[x509.GeneralName]
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(subject, key.public_key(), life=LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certificate_sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, life: timedelta
    ) -> x509.CertificateBuilder:
        # OpenSSL's strict mode, which Python 3.13 switches on, asks for both key identifiers.
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _CLOCK_SKEW)
            .not_valid_after(self._now + life)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(authority, critical=False)
        )


def private_pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """A private key as PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common_name: str, groups: Sequence[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    common = x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_COMMON_NAME_LENGTH])
    return x509.Name([*organizations, common])


def _key_usage(*, certificate_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificate_sign,
        key_cert_sign=certificate_sign,
        crl_sign=certificate_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
