"""The key of service account tokens: the one pair of a control plane that no authority signs."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from vgpu.authority import Pair, private_pem


def service_account_pair() -> Pair:
    """The key that signs service account tokens, with its public half in place of a certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Pair(public, private_pem(key))
