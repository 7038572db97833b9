"""A cluster of any size: its workloads, each with one pod, and what the pods use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID
from zlib import crc32

import numpy as np

from recommender.bank.buckets import FloatArray
from recommender.keys import WorkloadKey
from tests.support import builders
from vgpu.kube.resources import DEPLOYMENTS, PODS, REPLICA_SETS, STATEFUL_SETS, ResourceType

START: Final = 1_767_175_200.0 + 3 * 86_400
"""When benches begin, seconds since the epoch; the pods are older."""

Json = dict[str, Any]
Group = Literal["steady", "drifting", "silent", "young"]
_NAMESPACES: Final = 50
_NODES: Final = 500
# A workload uses between two and eight TFLOPS, and half a GiB of VRAM for each.
_LEAST, _SPREAD, _GOLDEN = 2.0, 6.0, 0.618_033_988_75
_VRAM_OF_TFLOPS: Final = float(1 << 29)
_RISE_PER_HOUR: Final = 0.1
_YOUNG_USE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Population:
    """How many workloads there are of which kind, and what their pods belong to.

    Attributes:
        steady: use the same all the time.
        drifting: use a tenth of what they used at the start more with each hour.
        silent: from the start on, nobody tells what they use.
        young: as steady, but five times as much as they request.
        controller: what makes the pods; a Deployment does it by a ReplicaSet, which is looked up.
    """

    steady: int = 0
    drifting: int = 0
    silent: int = 0
    young: int = 0
    controller: Literal["Deployment", "StatefulSet"] = "Deployment"

    def __len__(self) -> int:
        """How many workloads there are."""
        return self.steady + self.drifting + self.silent + self.young

    def members(self) -> "Iterator[Member]":
        """All workloads, group by group."""
        sizes: Mapping[Group, int] = {
            "steady": self.steady,
            "drifting": self.drifting,
            "silent": self.silent,
            "young": self.young,
        }
        for group, size in sizes.items():
            for number in range(size):
                yield Member(group, number, self.controller)


@dataclass(frozen=True, slots=True)
class Member:
    """One workload with its only pod.

    Attributes:
        group: what it does.
        number: which of the group it is.
        controller: what makes its pod.
    """

    group: Group
    number: int
    controller: Literal["Deployment", "StatefulSet"]

    @property
    def key(self) -> WorkloadKey:
        """Namespace and name of the workload, as it is named after the controller."""
        kind = "" if self.controller == "Deployment" else "-statefulset"
        return WorkloadKey(f"team-{self.number % _NAMESPACES}", self.root_name + kind)

    @property
    def root_name(self) -> str:
        """The name of the Deployment or StatefulSet."""
        return f"{self.group}-{self.number:06d}"

    @property
    def kind(self) -> ResourceType:
        """What the pod belongs to in the end."""
        return DEPLOYMENTS if self.controller == "Deployment" else STATEFUL_SETS

    @property
    def pod_name(self) -> str:
        """The name of its pod."""
        suffix = f"{builders.TEMPLATE_HASH}-abcde" if self.controller == "Deployment" else "0"
        return f"{self.root_name}-{suffix}"

    def uid(self, kind: ResourceType) -> str:
        """The UID of its object of a kind."""
        return str(UUID(int=crc32(f"{kind.kind} of {self.group}".encode()) << 96 | self.number))

    def root(self) -> Json:
        """The Deployment or StatefulSet."""
        return self._object(self.kind, self.root_name)

    def replica_set(self) -> Json | None:
        """What stands between the pod and its Deployment."""
        if self.controller != "Deployment":
            return None
        return self._object(REPLICA_SETS, f"{self.root_name}-{builders.TEMPLATE_HASH}", owner=self.root())

    def pod(self) -> Json:
        """The pod, as kube-apiserver stores it."""
        owner = self.replica_set() or self.root()
        pod = builders.pod(
            self.pod_name,
            namespace=self.key.namespace,
            generate_name=f"{owner['metadata']['name']}-",
            labels={"app": self.root_name, "pod-template-hash": builders.TEMPLATE_HASH},
            owner=builders.owner_reference(owner),
            node=f"node-{self.number % _NODES}",
        )
        pod["metadata"]["uid"] = self.uid(PODS)
        return pod

    def _object(self, kind: ResourceType, name: str, *, owner: Json | None = None) -> Json:
        reference = builders.owner_reference(owner) if owner is not None else None
        metadata = builders.metadata(kind, name, namespace=self.key.namespace, owner=reference)
        return {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {**metadata, "uid": self.uid(kind)},
        }


def tflops_of(members: Sequence[Member]) -> FloatArray:
    """What the pods use at the start, and have always used, shape (n,)."""
    numbers = np.array([member.number for member in members], np.float64)
    times = np.array([_YOUNG_USE if member.group == "young" else 1.0 for member in members])
    use: FloatArray = times * (_LEAST + _SPREAD * (numbers * _GOLDEN % 1))
    return use


def rise_of(members: Sequence[Member]) -> FloatArray:
    """What part of their use at the start the pods use more with each second, shape (n,)."""
    return np.array([_RISE_PER_HOUR / 3600 if member.group == "drifting" else 0.0 for member in members])


def vram_of(tflops: FloatArray) -> FloatArray:
    """The VRAM that goes with so much compute, bytes, of any shape."""
    return tflops * _VRAM_OF_TFLOPS
