"""How a Prometheus client shows who it is, and whom it trusts: passwords, tokens and certificates."""

import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from pydantic import SecretStr

from vgpu.prometheus_answers import AccessError

# Tokens are a few kilobytes; what is larger is some other file.
_LARGEST_SECRET: Final = 1 << 20

_Version = tuple[tuple[int, int, int], ...]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """What is known about how to come to a server; no secret of it is ever shown.

    Attributes:
        username: for basic authentication.
        password: its password, or else
        password_file: a file that holds it.
        bearer_token_file: a file that holds a token.
        ca_file: PEM of the authorities that may have signed the server's certificate; None: the system's.
        client_certificate: PEM of the certificate that the client shows, and of those between it and the CA.
        client_key: PEM of its key, if that is not in the same file.
        server_name: what the server's certificate must be for; None: the host of its address.
        headers: sent with every query.
    """

    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    server_name: str | None = None
    headers: Mapping[str, SecretStr] = field(default_factory=dict)

    @property
    def authenticates(self) -> bool:
        """Whether a secret goes with every query."""
        named = any(name.lower() == "authorization" for name in self.headers)
        return named or self.username is not None or self.bearer_token_file is not None


class Credentials:
    """What an `Access` comes to now: files are read again when they have changed.

    Args:
        access: where everything is.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._secret = _Watched(access.password_file or access.bearer_token_file)
        self._certificates = _Watched(access.ca_file, access.client_certificate, access.client_key)
        self._authorization: str | None = None
        self._context: ssl.SSLContext | None = None

    def load(self) -> None:
        """Read everything for the first time.

        Raises:
            AccessError: a file is not there or not what it should be; names the file.
        """
        self._secret.changed()
        self._certificates.changed()
        self._authorization = self._read_authorization()
        self._context = self._read_context()

    def headers(self) -> dict[str, str]:
        """The headers to send now; where a file cannot be read any more, what it held last."""
        if self._secret.changed():
            self.reread()
        headers = {name: value.get_secret_value() for name, value in self._access.headers.items()}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        return headers

    def reread(self) -> bool:
        """Read the secret again, as after the server refused it; whether it is another now."""
        try:
            authorization = self._read_authorization()
        except AccessError as error:
            log.warning("secret for the metric source cannot be read again", error=str(error))
            return False
        changed, self._authorization = authorization != self._authorization, authorization
        return changed

    def context(self) -> ssl.SSLContext | None:
        """The TLS context to use now; where the files do not fit together, the last that did."""
        if self._certificates.changed():
            try:
                self._context = self._read_context()
            except AccessError as error:  # in the middle of a rotation: the next change brings the rest
                log.warning("certificates for the metric source cannot be read again", error=str(error))
        return self._context

    def _read_authorization(self) -> str | None:
        access = self._access
        if access.bearer_token_file is not None:
            return f"Bearer {_token(access.bearer_token_file)}"
        if access.username is None:
            return None
        password = access.password.get_secret_value() if access.password else ""
        if access.password_file is not None:
            password = _secret(access.password_file)
        pair = b64encode(f"{access.username}:{password}".encode()).decode("ascii")
        return f"Basic {pair}"

    def _read_context(self) -> ssl.SSLContext | None:
        access = self._access
        if access.ca_file is None and access.client_certificate is None:
            return None
        context = _trusting(access.ca_file)
        if access.client_certificate is not None:
            key = access.client_key or access.client_certificate
            try:
                # Without the empty password OpenSSL would ask at the terminal.
                context.load_cert_chain(access.client_certificate, key, password="")
            except (OSError, ValueError) as error:  # an SSLError is an OSError
                raise AccessError(
                    f"client certificate {access.client_certificate} with key {key} cannot be used: "
                    f"{_why(error)}; they must be PEM, belong together, and the key have no password"
                ) from error
        return context


class _Watched:
    """Files of which somebody wants to know whether they have changed."""

    def __init__(self, *paths: Path | None) -> None:
        self._paths = tuple(path for path in paths if path is not None)
        self._version: _Version | None = None

    def changed(self) -> bool:
        """Whether one of them is another than at the last call; not while one is missing."""
        if not self._paths:
            return False
        try:
            version = tuple(_version(path) for path in self._paths)
        except OSError:
            return False
        changed, self._version = version != self._version, version
        return changed


def _version(path: Path) -> tuple[int, int, int]:
    # Kubernetes renews mounted Secrets and tokens by another file behind the same symbolic link.
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_SECRET + 1)
        text = content.decode()
    except OSError as error:
        raise AccessError(f"{path} cannot be read: {_why(error)}") from error
    except UnicodeDecodeError:
        raise AccessError(f"{path} is not UTF-8 text") from None  # the error would hold the bytes
    if len(content) > _LARGEST_SECRET:
        raise AccessError(f"{path} is larger than any password or token")
    secret = text.rstrip("\r\n")
    if not secret:
        raise AccessError(f"{path} is empty")
    return secret


def _token(path: Path) -> str:
    token = _secret(path).strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AccessError(f"{path} holds no token: one is a single word of ASCII characters")
    return token


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise AccessError(
            f"CA file {ca_file} cannot be used: {_why(error)}; it must be PEM certificates"
        ) from error


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM").replace("_", " ").lower()
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
