"""Which card each node has: by TensorFusion's GPU objects, and where there are none, by the node's labels."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import Final, TypeVar

import msgspec

from vgpu.annotations import GROUP
from vgpu.capacity import Card, any_card, cap_of, card_of, milli
from vgpu.gpu_models import GpuModels
from vgpu.kube.objects import ObjectMeta
from vgpu.quantities import QuantityError, parse_tflops, parse_vram
from vgpu.slices import Amounts, Resource

# TensorFusion's operator writes the node's name into this selector, and into the label for its own use.
_HOST_NAME: Final = "kubernetes.io/hostname"
_OWNER_LABEL: Final = f"{GROUP}/managed-by"
_NONE: Final[frozenset[Card]] = frozenset()
# More than the nodes of the largest clusters, and than the slices that people think of.
_REMEMBERED: Final = 10_000

K = TypeVar("K", bound=Hashable)


class GpuCapacity(msgspec.Struct, frozen=True):
    """What one GPU gives, as Kubernetes quantities."""

    tflops: str | int | float = ""
    vram: str | int | float = ""


class GpuStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What TensorFusion's operator has found out about one GPU."""

    capacity: GpuCapacity | None = None
    gpu_model: str = ""
    node_selector: dict[str, str] | None = None


class Gpu(msgspec.Struct, frozen=True):
    """TensorFusion's GPU object (`gpus.tensor-fusion.ai`): one card of one node."""

    metadata: ObjectMeta = ObjectMeta()
    status: GpuStatus | None = None

    @property
    def node(self) -> str:
        """The name of the node that it is in; empty where nobody tells."""
        selector = (self.status.node_selector if self.status else None) or {}
        return selector.get(_HOST_NAME) or (self.metadata.labels or {}).get(_OWNER_LABEL, "")


class Cards:
    """What cards there are, by node; it is told of nodes and GPU objects as they come, change and go.

    Other threads may look cards up meanwhile.

    Args:
        models: knows the peak of a card of which only the name is known.
    """

    def __init__(self, models: GpuModels) -> None:
        self._models = models
        self._labelled: dict[str, Card] = {}
        self._gpus: defaultdict[str, dict[str, Card]] = defaultdict(dict)
        self._node_of_gpu: dict[str, str] = {}
        self._here: dict[str, frozenset[Card]] = {}
        self._count: Counter[Card] = Counter()
        self._gone: set[Card] = set()
        self._known: frozenset[Card] = frozenset()
        self._caps: dict[tuple[str | None, Amounts | None], Amounts] = {}
        self._largest: dict[str, Amounts] = {}

    def of(self, node: str) -> Card | None:
        """The card of a node, the one with the most TFLOPS where it has several; None where none is known."""
        here = self._here.get(node, _NONE)
        return max(here, key=lambda card: (card.tflops or 0, card.vram or 0), default=None)

    def cap(self, gpu_model: str | None = None, baseline: Amounts | None = None) -> Amounts:
        """What the largest card gives that a workload may get, or that there is; see `cap_of`.

        A card whose nodes are gone still counts: what is scaled away comes back for the pods that need it.
        """
        asked = (gpu_model, baseline)
        if (found := self._caps.get(asked)) is None:
            found = cap_of(self._known, gpu_model, models=self._models, baseline=baseline)
            _remember(self._caps, asked, found)
        return found

    def largest(self, node: str = "") -> Amounts:
        """The most that can be used of one card of a node; where that is not known, of any that there is.

        Args:
            node: its name; empty for all.

        Returns:
            Both amounts: in place of what no node tells stands what `any_card` does.
        """
        if (found := self._largest.get(node)) is None:
            found = self._find_largest(node)
            _remember(self._largest, node, found)
        return found

    def put_node(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """A node came, or its labels changed; labels that tell of no card any more leave it the one it had.

        Returns:
            Whether there are other cards now than before.
        """
        card = card_of(labels, self._models)
        if card is None or card == self._labelled.get(name):
            return False
        self._labelled[name] = card
        return self._recount(name)

    def remove_node(self, name: str) -> None:
        """A node went; its card goes on to count."""
        if self._labelled.pop(name, None) is not None:
            self._recount(name, gone=True)

    def put_gpu(self, gpu: Gpu) -> bool:
        """A GPU object came or changed; one without a node or an amount counts as if it were not there yet.

        Returns:
            Whether there are other cards now than before.
        """
        name, node, card = gpu.metadata.name, gpu.node, _card_of_gpu(gpu, self._models)
        if not node or card is None or self._gpus.get(node, {}).get(name) == card:
            return False
        if self._node_of_gpu.get(name, node) != node:
            self.remove_gpu(name)
        self._gpus[node][name], self._node_of_gpu[name] = card, node
        return self._recount(node)

    def remove_gpu(self, name: str) -> None:
        """A GPU object went; its card goes on to count."""
        node = self._node_of_gpu.pop(name, None)
        if node is None:
            return
        del self._gpus[node][name]
        if not self._gpus[node]:
            del self._gpus[node]
        self._recount(node, gone=True)

    def _recount(self, node: str, *, gone: bool = False) -> bool:
        before, after = self._here.pop(node, _NONE), self._now(node)
        if after:
            self._here[node] = after
        self._count.update(after - before)
        self._count.subtract(before - after)
        self._count = +self._count
        if gone:
            self._gone |= before - after
        known = frozenset(self._count) | self._gone
        changed, self._known = known != self._known, known
        if changed:
            self._caps.clear()
        self._largest.clear()
        return changed

    def _now(self, node: str) -> frozenset[Card]:
        if gpus := self._gpus.get(node):
            return frozenset(gpus.values())
        card = self._labelled.get(node)
        return _NONE if card is None else frozenset((card,))

    def _find_largest(self, node: str) -> Amounts:
        found = cap_of(self._here.get(node, _NONE), models=self._models)
        for fallback in (self.cap(), any_card(self._models)):
            for resource in Resource:
                if found.get(resource) is None:
                    found = found.replace(resource, fallback.get(resource))
        return found


def _remember(answers: dict[K, Amounts], asked: K, found: Amounts) -> None:
    if len(answers) >= _REMEMBERED:
        answers.clear()
    answers[asked] = found


def _card_of_gpu(gpu: Gpu, models: GpuModels) -> Card | None:
    status = gpu.status
    if status is None or status.capacity is None:
        return None
    tflops, vram = _amount(parse_tflops, status.capacity.tflops), _amount(parse_vram, status.capacity.vram)
    if tflops is None and vram is None:
        return None
    return Card(status.gpu_model, tflops or milli(models.peak(status.gpu_model)), vram)


def _amount(parse: Callable[[str | float], int], quantity: str | float) -> int | None:
    """A quantity, or None where it is none that a card can have."""
    try:
        return parse(quantity) or None
    except QuantityError:
        return None
