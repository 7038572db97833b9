"""Which objects are ours: those that a service of this product made carry its name in a label."""

from typing import Final

from vgpu.kube.objects import ObjectMeta

MANAGER: Final = "vgpu-autoscaler"
"""Value of the label, and our field manager in server-side apply."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"


def is_ours(metadata: ObjectMeta) -> bool:
    """Whether one of our services made the object, and no person did."""
    return (metadata.labels or {}).get(MANAGED_BY) == MANAGER
