"""Asks kube-apiserver at the start whether the recommender may do what it has to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from recommender.cluster.failures import in_parallel
from recommender.cluster.owners import LISTED_KINDS, OWNER_KINDS
from recommender.errors import MissingNamespace, MissingPermissions
from recommender.settings import RecommenderSettings
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import Forbidden, NotFound
from vgpu.kube.objects import PartialObject
from vgpu.kube.resources import (
    CONFIG_MAPS,
    EVENTS,
    GPUS,
    HPAS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    PROFILES,
    SECRETS,
    WORKLOADS,
    ResourceType,
)

ACCESS_REVIEWS: Final = ResourceType(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
logger = structlog.get_logger(__name__)

_FOLLOW: Final = ("list", "watch")
_KEEP: Final = ("get", "list", "create", "update", "delete")


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """One verb on one type of object, in one namespace or, without one, in the whole cluster."""

    resource: ResourceType
    verb: str
    subresource: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        name = f"{self.resource.full_name}{f'/{self.subresource}' if self.subresource else ''}"
        return f"{self.verb} {name}{f' in namespace {self.namespace}' if self.namespace else ''}"


def needed(settings: RecommenderSettings, *, gpus: bool) -> Iterator[Permission]:
    """All that the recommender has to be allowed.

    Args:
        settings: whether it keeps Leases and ConfigMaps, and where, and whether it reads tokens.
        gpus: whether TensorFusion's GPU objects are followed.
    """
    for resource in (PODS, NODES, PROFILES, WORKLOADS, HPAS, *((GPUS,) if gpus else ())):
        yield from (Permission(resource, verb) for verb in _FOLLOW)
    companion = settings.mode == "companion"
    yield from (Permission(WORKLOADS, verb) for verb in ("get", *(() if companion else ("create", "patch"))))
    yield Permission(WORKLOADS, "patch", subresource="status")
    yield from (Permission(HPAS, verb) for verb in ("create", "patch", "delete"))
    if settings.evictions and not companion:
        yield Permission(PODS, "create", subresource="eviction")
    if settings.events:
        yield from (Permission(EVENTS, verb) for verb in ("create", "patch"))
    yield from (Permission(kind, "get") for kind in OWNER_KINDS)
    if settings.external_scaler_urls:
        yield Permission(SECRETS, "get")
    for resource in kept(settings):
        yield from (Permission(resource, verb, namespace=settings.namespace) for verb in _KEEP)


WISHED: Final = tuple(Permission(kind, "list") for kind in LISTED_KINDS)
"""What the recommender can do without: a start takes longer while owners of pods are read one by one."""


def kept(settings: RecommenderSettings) -> list[ResourceType]:
    """The types of objects of its own that the recommender keeps in the product's namespace."""
    leases = [LEASES] if settings.leader_election else []
    return [*leases, *([CONFIG_MAPS] if settings.checkpoint_store == "config_map" else [])]


async def require_permissions(
    client: KubeClient, settings: RecommenderSettings, *, gpus: bool = False
) -> None:
    """Make sure that the namespace is there, where one is needed, and that everything needed is allowed.

    What is only wished for, and not allowed, is logged.

    Args:
        client: the connection to kube-apiserver.
        settings: what the recommender is told to do.
        gpus: whether TensorFusion's GPU objects are followed.

    Raises:
        MissingNamespace: objects of its own have no place.
        MissingPermissions: naming all that are missing.
        KubeError: kube-apiserver does not answer; in an ExceptionGroup where it stopped in the middle.
    """
    if kinds := kept(settings):
        await _require_namespace(client, settings.namespace, kinds)
    missing: set[Permission] = set()

    async def ask(permission: Permission) -> None:
        if not await _is_allowed(client, permission):
            missing.add(permission)

    asked = list(needed(settings, gpus=gpus))
    await in_parallel(ask, [*asked, *WISHED])
    if unmet := [str(each) for each in WISHED if each in missing]:
        logger.warning("owners of pods are looked up one by one: listing them is not allowed", missing=unmet)
    if not missing.isdisjoint(asked):
        raise MissingPermissions(tuple(str(each) for each in asked if each in missing))


async def _require_namespace(client: KubeClient, namespace: str, kinds: list[ResourceType]) -> None:
    try:
        await client.get(NAMESPACES, namespace, type=PartialObject)
    except NotFound as error:
        raise MissingNamespace(namespace, " and ".join(f"{kind.kind}s" for kind in kinds)) from error
    except Forbidden:
        return  # looking is not needed for anything else: the first write tells


async def _is_allowed(client: KubeClient, permission: Permission) -> bool:
    asked = {
        "group": permission.resource.group,
        "resource": permission.resource.plural,
        "subresource": permission.subresource,
        "verb": permission.verb,
        "namespace": permission.namespace,
    }
    review = {"apiVersion": ACCESS_REVIEWS.api_version, "kind": ACCESS_REVIEWS.kind}
    answer = await client.create(ACCESS_REVIEWS, {**review, "spec": {"resourceAttributes": asked}})
    return bool(answer.get("status", {}).get("allowed"))
