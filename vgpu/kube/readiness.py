"""What a service makes sure of before it starts: kube-apiserver answers, and serves our types."""

from collections.abc import Sequence

import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from vgpu.kube.errors import ApiError, ApiUnreachable, NotFound, ServerFailure, Throttled, Unauthorized
from vgpu.kube.resources import ResourceType
from vgpu.kube.transport import Call, Transport
from vgpu.kube.wire import decode


class _Named(msgspec.Struct):
    name: str


class _ApiResourceList(msgspec.Struct):
    resources: list[_Named] | None = None


async def wait_reachable(transport: Transport, *, timeout: float) -> None:
    """As `KubeClient.wait_reachable`."""
    retrying = AsyncRetrying(
        stop=stop_before_delay(timeout),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        retry=retry_if_exception_type((ApiUnreachable, ServerFailure, Throttled)),
        reraise=True,
    )
    try:
        await retrying(_probe, transport, min(timeout, transport.timeout))
    except (ApiUnreachable, ServerFailure, Throttled) as error:
        reason = error.reason if isinstance(error, ApiUnreachable) else str(error)
        source = transport.credentials.source
        raise ApiUnreachable(
            transport.credentials.server,
            f"{reason} (tried for {timeout:g} s; the address is from {source})",
        ) from error


async def missing_types(transport: Transport, resources: Sequence[ResourceType]) -> list[ResourceType]:
    """Those types that kube-apiserver does not serve, by discovery: it needs no permission of its own."""
    served = {
        (group, version, plural)
        for group, version in {(resource.group, resource.version) for resource in resources}
        for plural in await _served(transport, f"/apis/{group}/{version}")
    }
    return [each for each in resources if (each.group, each.version, each.plural) not in served]


async def _probe(transport: Transport, seconds: float) -> None:
    try:
        await transport.send_once(Call("GET", "/readyz"), timeout=seconds)
    except (Unauthorized, ServerFailure, Throttled):
        raise
    except ApiError:  # it answers; that health checks are hidden from us is no matter
        return


async def _served(transport: Transport, path: str) -> set[str]:
    call = Call("GET", path)
    try:
        found = decode(call, _ApiResourceList, await transport.send(call))
    except NotFound:
        return set()
    return {resource.name for resource in found.resources or ()}
