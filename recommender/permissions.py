"""Asks kube-apiserver at the start whether the recommender may do what it has to."""

from typing import Final

from recommender.errors import MissingPermissions
from recommender.owners import OWNER_KINDS
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import HPAS, NODES, PODS, PROFILES, WORKLOADS, ResourceType

ACCESS_REVIEWS: Final = ResourceType(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
_FOLLOW: Final = ("list", "watch")
_NEEDED: Final[tuple[tuple[ResourceType, str, tuple[str, ...]], ...]] = (
    (PODS, "", _FOLLOW),
    (NODES, "", _FOLLOW),
    (PROFILES, "", _FOLLOW),
    (WORKLOADS, "", (*_FOLLOW, "get", "create", "patch")),
    (WORKLOADS, "status", ("patch",)),
    (HPAS, "", (*_FOLLOW, "create", "patch", "delete")),
    *((kind, "", ("get",)) for kind in OWNER_KINDS),
)


async def require_permissions(client: KubeClient) -> None:
    """Check every permission in the whole cluster.

    Raises:
        MissingPermissions: naming all that are missing.
        KubeError: kube-apiserver does not answer.
    """
    missing = [
        f"{verb} {resource.full_name}{f'/{subresource}' if subresource else ''}"
        for resource, subresource, verbs in _NEEDED
        for verb in verbs
        if not await _is_allowed(client, resource, subresource, verb)
    ]
    if missing:
        raise MissingPermissions(tuple(missing))


async def _is_allowed(client: KubeClient, resource: ResourceType, subresource: str, verb: str) -> bool:
    asked = {
        "group": resource.group,
        "resource": resource.plural,
        "subresource": subresource,
        "verb": verb,
    }
    review = {"apiVersion": ACCESS_REVIEWS.api_version, "kind": ACCESS_REVIEWS.kind}
    answer = await client.create(ACCESS_REVIEWS, {**review, "spec": {"resourceAttributes": asked}})
    return bool(answer.get("status", {}).get("allowed"))
