"""The tokens that external scalers are shown, from Secrets of the workloads' own namespaces."""

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from pydantic import SecretStr

from recommender.external_scaler.errors import SecretUnusable
from vgpu.annotations import EXTERNAL_SCALER
from vgpu.api import ExternalScaler
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import KubeError, NotFound
from vgpu.kube.objects import ObjectMeta
from vgpu.kube.resources import SECRETS
from vgpu.naming import is_object_name

KEYS: Final = ("apiKey", "token", "key")
"""The keys of a Secret that may hold the token; the first that is there counts, as in TensorFusion."""

_LIFETIME: Final = 60.0
_MOST_KEPT: Final = 1024
_LONGEST: Final = 4096
# What a header can carry in one piece.
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class _Secret(msgspec.Struct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"_Secret({self.metadata.namespace}/{self.metadata.name})"


class _Name(NamedTuple):
    namespace: str
    name: str


class Tokens:
    """Reads tokens when they are used, and remembers each for a minute.

    Args:
        client: where the Secrets are.
        clock: seconds on any clock that goes on steadily.
    """

    def __init__(self, *, client: KubeClient, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._kept: OrderedDict[_Name, tuple[float, SecretStr]] = OrderedDict()

    async def of(self, namespace: str, scaler: ExternalScaler) -> SecretStr | None:
        """The token for a workload's scaler; None where it names no Secret.

        Args:
            namespace: the workload's own, where the Secret must be.
            scaler: what the workload says.

        Raises:
            SecretUnusable: there is none, it is not labelled for this use, or has no token.
        """
        reference = scaler.api_key_secret_ref
        if reference is None:
            return None
        if reference.namespace not in {"", namespace}:
            raise SecretUnusable(
                f"apiKeySecretRef names the namespace {reference.namespace!r}; "
                f"a Secret is read in the workload's own namespace {namespace!r} only"
            )
        name = _Name(namespace, reference.name)
        if not is_object_name(name.name):
            raise SecretUnusable(f"apiKeySecretRef names {name.name!r}, which no Secret can be called")
        until, token = self._kept.get(name, (0.0, None))
        if token is None or self._clock() >= until:
            token = await self._read(name)
            self._keep(name, token)
        return token

    def forget(self, namespace: str, scaler: ExternalScaler) -> None:
        """Read a token anew when it is used the next time: the scaler has refused it."""
        if scaler.api_key_secret_ref is not None:
            self._kept.pop(_Name(namespace, scaler.api_key_secret_ref.name), None)

    def _keep(self, name: _Name, token: SecretStr) -> None:
        self._kept.pop(name, None)
        self._kept[name] = (self._clock() + _LIFETIME, token)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    async def _read(self, name: _Name) -> SecretStr:
        try:
            secret = await self._client.get(SECRETS, name.name, namespace=name.namespace, type=_Secret)
        except NotFound:
            raise SecretUnusable(f"there is no Secret {name.namespace}/{name.name}") from None
        except KubeError as error:
            raise SecretUnusable(
                f"Secret {name.namespace}/{name.name} cannot be read: {type(error).__name__}"
            ) from None
        if (secret.metadata.namespace, secret.metadata.name) != name:
            raise SecretUnusable(f"what was read is not the Secret {name.namespace}/{name.name}")
        if (secret.metadata.labels or {}).get(EXTERNAL_SCALER) != "true":
            raise SecretUnusable(
                f"Secret {name.namespace}/{name.name} lacks the label {EXTERNAL_SCALER}: "
                '"true", which lets it be sent to an external scaler'
            )
        return _token(name, secret.data or {})


def _token(name: _Name, data: dict[str, str]) -> SecretStr:
    written = next((data[key] for key in KEYS if key in data), None)
    if written is None:
        raise SecretUnusable(
            f"Secret {name.namespace}/{name.name} has none of the keys {', '.join(KEYS)} for the token"
        )
    try:
        token = base64.b64decode(written, validate=True).decode("ascii").strip()
    except (binascii.Error, UnicodeError):
        token = ""
    if len(token) > _LONGEST or not _TOKEN.fullmatch(token):
        raise SecretUnusable(
            f"the token in Secret {name.namespace}/{name.name} is not one word of at most {_LONGEST} "
            "printable ASCII characters"
        )
    return SecretStr(token)
