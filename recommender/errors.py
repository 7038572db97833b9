"""What can go wrong in the recommender: each error says what happened, to which object, and what to do."""

from vgpu.errors import AutoscalerError, ExitCode, StartupError
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


class TermOver(RecommenderError):
    """This replica lets go of its Lease, and stands for it again: what it works with has to be made anew."""


class NotLeader(TermOver):
    """A write that is not sent, since this replica may write no more: the pass ends, and so does the term."""

    def __init__(self) -> None:
        super().__init__(
            "this replica's time as leader is over, and what it wanted to write is not sent; "
            "whoever holds the Lease now sees to it"
        )


class TornHistories(RecommenderError):
    """Usage was taken in by half: histories that must not be saved."""

    def __init__(self) -> None:
        super().__init__(
            "usage was taken into the histories only in part, since that failed; they are not saved, "
            "so that the next start goes on from what was saved before"
        )


class StuckTerm(AutoscalerError):
    """The work of a leader did not end when it was told to."""

    def __init__(self, lease: str, grace: float) -> None:
        super().__init__(
            f"the work under Lease {lease} has not ended {grace:g} s after it was told to; "
            "the process ends, so that it cannot go on beside another leader: start it again"
        )


class MissingNamespace(StartupError):
    """The namespace that the product is said to run in is not there."""

    exit_code = ExitCode.CLUSTER

    def __init__(self, namespace: str, wanted: str) -> None:
        super().__init__(
            f"namespace {namespace!r}, where {wanted} would be kept, does not exist; create it with "
            f"`kubectl create namespace {namespace}`, or name another in the setting `namespace`"
        )


class UnusableDirectory(StartupError):
    """Checkpoints cannot be kept where they are to be."""

    exit_code = ExitCode.USAGE

    def __init__(self, directory: str, problem: str) -> None:
        super().__init__(
            f"checkpoint_directory {directory!r} cannot be used: {problem}; it must be there and be writable "
            "for this process, on a volume that outlives the pod, "
            "or set checkpoint_store to config_map or none"
        )


class MissingPermissions(StartupError):
    """kube-apiserver would refuse what the recommender has to do."""

    exit_code = ExitCode.CLUSTER

    def __init__(self, missing: tuple[str, ...]) -> None:
        super().__init__(
            f"the recommender lacks permissions in the cluster: {', '.join(missing)}; "
            "grant them with a ClusterRole and a ClusterRoleBinding, "
            "those in a namespace with a Role and a RoleBinding"
        )
