"""Where usage is found in a metric source: presets of queries, and which pod and card a series is about."""

from vgpu.usage_sources.cards import CardLookup, UnknownCards, shares_cards
from vgpu.usage_sources.preset import Measure, PodGpu, Preset, Reading, Unit
from vgpu.usage_sources.presets import (
    CUSTOM,
    DCGM,
    HAMI,
    PRESETS,
    TENSORFUSION,
    TENSORFUSION_GREPTIMEDB,
    choose,
)
from vgpu.usage_sources.queries import (
    SampleKind,
    bulk_query,
    probe,
    raw_query,
    reading_of,
    restrictable,
)
from vgpu.usage_sources.zeros import MeasuredPods

__all__ = [
    "CUSTOM",
    "DCGM",
    "HAMI",
    "PRESETS",
    "TENSORFUSION",
    "TENSORFUSION_GREPTIMEDB",
    "CardLookup",
    "Measure",
    "MeasuredPods",
    "PodGpu",
    "Preset",
    "Reading",
    "SampleKind",
    "Unit",
    "UnknownCards",
    "bulk_query",
    "choose",
    "probe",
    "raw_query",
    "reading_of",
    "restrictable",
    "shares_cards",
]
