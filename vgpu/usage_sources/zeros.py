"""Which pods an exporter really measures, where it shows 0 of those that it does not."""

from collections.abc import Iterable
from threading import Lock
from typing import Final, Generic, TypeVar

P = TypeVar("P")

_REMEMBERED: Final = 200_000


class MeasuredPods(Generic[P]):
    """Pods that have shown anything but 0 as long as this process runs: a 0 of theirs is a true one.

    Of very many, those are forgotten first that have been idle longest. It may be used by several threads.

    Args:
        most: how many pods are remembered.
    """

    def __init__(self, *, most: int = _REMEMBERED) -> None:
        self._most = most
        self._pods: dict[P, None] = {}
        self._lock = Lock()

    def __contains__(self, pod: object) -> bool:
        """Whether a pod has shown anything but 0."""
        return pod in self._pods

    def add(self, pods: Iterable[P]) -> None:
        """These pods have shown more than 0 just now."""
        with self._lock:
            for pod in pods:
                self._pods.pop(pod, None)
                self._pods[pod] = None
            while len(self._pods) > self._most:
                del self._pods[next(iter(self._pods))]
