"""Files of usage for simulations, and trials of profiles on them."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

from recommender.simulation.measurements import Measurements, measure
from recommender.simulation.replay import Pace, Replay, Step
from recommender.simulation.trial import CardGiven, Trial, prepare
from recommender.simulation.usage_file import UsageFile, read_usage
from vgpu.gpu_peaks import load_models
from vgpu.slices import Amounts, VgpuSlice

# 2025-10-09T09:00:00Z, a Thursday.
BEGIN = 1_760_000_400.0
MINUTE, DAY = 60.0, 86_400.0
HEADER = "timestamp,pod,tflops,vram_bytes"
PACE = Pace(interval=MINUTE, half_life=DAY, peak_window=DAY)
GIB = 1 << 30

Row = tuple[object, ...]


def text_of(rows: Iterable[Row], header: str = HEADER) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def usage_of(rows: Iterable[Row]) -> UsageFile:
    return read_text(text_of(rows))


def read_text(text: str | bytes) -> UsageFile:
    content = text if isinstance(text, bytes) else text.encode()
    return read_usage(io.BytesIO(content), "usage.csv")


def measured(rows: Iterable[Row]) -> Measurements:
    return measure(usage_of(rows), largest=Amounts())


def constant(
    tflops: object, vram: object, *, minutes: int, pod: str = "web-0", begin: float = BEGIN
) -> list[Row]:
    """A sample a minute, from a time on; one more than there are minutes."""
    return [(begin + MINUTE * index, pod, tflops, vram) for index in range(minutes + 1)]


def own_slice(tflops: float = 10, vram: int = 16 * GIB) -> VgpuSlice:
    """A slice whose limits are twice its requests."""
    milli = round(1000 * tflops)
    return VgpuSlice(Amounts(tflops=milli, vram=vram), Amounts(tflops=2 * milli, vram=2 * vram))


def trial_of(
    profile: Mapping[str, Any] | None = None, slice_: VgpuSlice | None = None, card: CardGiven | None = None
) -> Trial:
    return prepare(
        profile or {},
        own_slice() if slice_ is None else slice_,
        origin="profile.yaml",
        card=card or CardGiven(),
        models=load_models(),
    )


def config_of(**auto_set_resources: Any) -> dict[str, Any]:
    """A spec with such `autoSetResources`."""
    return {"autoScalingConfig": {"autoSetResources": auto_set_resources}}


def replayed(rows: Iterable[Row], trial: Trial | None = None, pace: Pace = PACE) -> list[Step]:
    return list(Replay(trial=trial or trial_of(), measurements=measured(rows), pace=pace))
