"""The pods whose usage counts: those that there are, and those that went until all of it has been read."""

import math
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey

# About 100 MB. More that go while no usage can be read are half of a large cluster: the oldest are let go.
_MOST_GONE: Final = 50_000
# So many are taken out at once, in a few milliseconds.
_PORTION: Final = 5_000

_Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class GonePod(TrackedPod):
    """A pod that is no more.

    Attributes:
        end: when it finished, or else was seen to be gone, in seconds since the epoch.
    """

    end: float = math.inf

    @property
    def ended(self) -> float:
        """When the pod ended, in seconds since the epoch."""
        return self.end


class KnownPods:
    """Tells whose usage counts, also of pods that are gone.

    Usage of a pod's last step is read when the pod is gone already, and after an outage of the metric source
    that of its last hours. So a pod counts until usage has been read up to its end. Only then is it to be
    forgotten by all who remember something of it, so that nothing comes back that nobody would forget again.

    Args:
        find: the pod of a namespace and name that there is, by what is known of it.
        step: seconds between two samples.
    """

    def __init__(self, find: Callable[[str, str], TrackedPod | None], *, step: float) -> None:
        self._find = find
        self._step = step
        # By UID, in the order in which they went.
        self._gone: dict[str, GonePod] = {}
        # Those that had the same name, the latest first. Never changed in place: other threads look in here.
        self._names: dict[_Name, tuple[GonePod, ...]] = {}
        self._of_workload: dict[WorkloadKey, dict[str, None]] = {}

    def __len__(self) -> int:
        """How many pods are gone of which usage may still come."""
        return len(self._gone)

    def uids(self) -> Iterable[str]:
        """Of the pods that are gone of which usage may still come."""
        return self._gone.keys()

    def find(self, namespace: str, name: str) -> TrackedPod | None:
        """The pod of that name, or the latest that had it; may be called from another thread."""
        found = self._find(namespace, name)
        if found is None and (gone := self._names.get((namespace, name))):
            return gone[0]
        return found

    def former(self, pod: TrackedPod) -> tuple[TrackedPod, ...]:
        """Those that had a pod's name before it, the latest first; may be called from another thread."""
        gone = self._names.get(_name(pod))
        if gone is None:
            return ()
        return tuple(each for each in gone if each.created <= pod.created and each.uid != pod.uid)

    def counts(self, pod: TrackedPod) -> bool:
        """Whether a pod of which usage was read still counts; may be called from another thread.

        It does not once it is forgotten, nor when it has turned out to be of another workload.
        """
        there = self._find(*_name(pod))
        if there is pod:
            return True
        if there is None or there.uid != pod.uid:
            there = self._gone.get(pod.uid)
        return there is not None and there.workload == pod.workload

    def went(self, pod: TrackedPod, now: float) -> tuple[str, ...]:
        """Take note of a pod that there is no more.

        Args:
            pod: as it was last.
            now: when that was seen, in seconds since the epoch.

        Returns:
            UIDs of pods that are to be forgotten, as there are too many by now.
        """
        self._drop(pod.uid)
        gone = GonePod(pod.pod, pod.workload, pod.root, pod.created, pod.reused, end=min(pod.ended, now))
        self._gone[pod.uid] = gone
        names = (gone, *self._names.get(_name(pod), ()))
        self._names[_name(pod)] = tuple(sorted(names, key=lambda each: each.created, reverse=True))
        self._of_workload.setdefault(pod.workload, {})[pod.uid] = None
        if len(self._gone) <= _MOST_GONE:
            return ()
        oldest = next(iter(self._gone))
        self._drop(oldest)
        return (oldest,)

    def came(self, pod: TrackedPod) -> None:
        """Take note of a pod that there is, and that may have seemed to be gone."""
        self._drop(pod.uid)

    def read(self, until: float) -> tuple[str, ...]:
        """Take note of how far usage has been read; to be called until nothing comes of it.

        Args:
            until: the time up to which it has been, in seconds since the epoch.

        Returns:
            UIDs of pods that are to be forgotten now, some thousands at most.
        """
        done = (uid for uid, pod in self._gone.items() if pod.end + self._step <= until)
        uids = tuple(islice(done, _PORTION))
        for uid in uids:
            self._drop(uid)
        return uids

    def retire(self, workload: WorkloadKey) -> None:
        """Let no pod that went count for a workload that is no more."""
        for uid in tuple(self._of_workload.get(workload, ())):
            self._drop(uid)

    def keep(self, workloads: Container[WorkloadKey]) -> None:
        """Let pods that went count for these workloads only."""
        for workload in [each for each in self._of_workload if each not in workloads]:
            self.retire(workload)

    def _drop(self, uid: str) -> None:
        gone = self._gone.pop(uid, None)
        if gone is None:
            return
        siblings = self._of_workload[gone.workload]
        del siblings[uid]
        if not siblings:
            del self._of_workload[gone.workload]
        if others := tuple(each for each in self._names[_name(gone)] if each.uid != uid):
            self._names[_name(gone)] = others
        else:
            del self._names[_name(gone)]


def _name(pod: TrackedPod) -> _Name:
    metadata = pod.pod.metadata
    return metadata.namespace, metadata.name
