"""What can go wrong in the recommender: each error says what happened, to which object, and what to do."""

from vgpu.errors import ExitCode, StartupError
from vgpu.naming import Owner


class RecommenderError(Exception):
    """Anything wrong with one workload or with one pass."""


class OwnerGone(RecommenderError):
    """A pod's owner is no longer there: garbage collection is about to take the pod too."""

    def __init__(self, namespace: str, owner: Owner) -> None:
        super().__init__(
            f"{owner.kind} {namespace}/{owner.name} (uid {owner.uid}) is gone; "
            "its pods are left alone until garbage collection takes them"
        )


class MissingPermissions(StartupError):
    """kube-apiserver would refuse what the recommender has to do."""

    exit_code = ExitCode.CLUSTER

    def __init__(self, missing: tuple[str, ...]) -> None:
        super().__init__(
            f"the recommender lacks permissions in the cluster: {', '.join(missing)}; "
            "grant them with a ClusterRole and a ClusterRoleBinding"
        )
