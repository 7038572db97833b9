"""The exporters that are known, and an operator's own queries."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from vgpu.usage_sources.preset import Measure, Preset, Reading, Unit, gives_range

_MEBIBYTE: Final = float(1 << 20)
_PERCENT: Final = 0.01

# Without honorLabels, Prometheus renames the exporter's own label to exported_X and puts the scraped
# target's (the exporter's pod) in its place: so the exported one counts first.
_NAMESPACE_LABELS: Final = ("exported_namespace", "namespace")

# The exporter's own name for the pod is `worker`, in later versions `pod_name` (then `worker` is a UID);
# a `pod` beside them is likely what the scrape added.
TENSORFUSION: Final = Preset(
    name="tensorfusion",
    compute=Measure((Reading("tf_worker_usage_compute_tflops"),)),
    memory=Measure((Reading("tf_worker_usage_memory_bytes"),)),
    namespace_labels=_NAMESPACE_LABELS,
    pod_labels=("pod_name", "exported_worker", "exported_pod", "worker", "pod"),
    gpu_labels=(("uuid",),),
)

# GreptimeDB has one table for all fields of a measurement, and names the field by a matcher of its own.
TENSORFUSION_GREPTIMEDB: Final = replace(
    TENSORFUSION,
    name="tensorfusion-greptimedb",
    compute=Measure((Reading('tf_worker_usage{__field__="compute_tflops"}'),)),
    memory=Measure((Reading('tf_worker_usage{__field__="memory_bytes"}'),)),
)

# Where a container has no core limit, or HAMi's policy does not enforce it, its exporter shows a constant 0.
# HAMi's own reference gives the unit as percent, 0 to 100, whatever the name says. A container has a slice of
# its own on a card, so the container tells it apart. No label names the model.
HAMI: Final = Preset(
    name="hami",
    compute=Measure(
        (
            Reading("hami_container_device_utilization_ratio", _PERCENT),
            Reading("Device_utilization_desc_of_container", _PERCENT),
        ),
        of_card=True,
        per_unit=True,
        zero_is_unknown=True,
    ),
    memory=Measure((Reading("hami_vgpu_memory_used_bytes"), Reading("vGPU_device_memory_usage_in_bytes"))),
    namespace_labels=("exported_namespace", "podnamespace", "namespace"),
    pod_labels=("exported_pod", "podname", "pod"),
    gpu_labels=(("device_uuid", "deviceuuid"), ("exported_container", "ctrname", "container")),
)

# From 4.9 on the exporter uses DCGM 4.7's names, in base units. GPU_UTIL says whether any kernel ran, which
# GR_ENGINE_ACTIVE says finer; of MIG instances there is only the latter, as a part of the instance.
DCGM: Final = Preset(
    name="dcgm",
    compute=Measure(
        (
            Reading("DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO"),
            Reading("DCGM_FI_PROF_GR_ENGINE_ACTIVE"),
            Reading("DCGM_FI_DEV_GPU_UTIL", _PERCENT),
            Reading("DCGM_FI_DEV_GPU_UTIL_RATIO"),
        ),
        of_card=True,
    ),
    memory=Measure((Reading("DCGM_FI_DEV_FB_USED_BYTES"), Reading("DCGM_FI_DEV_FB_USED", _MEBIBYTE))),
    namespace_labels=("exported_namespace", "pod_namespace", "namespace"),
    pod_labels=("exported_pod", "pod_name", "pod"),
    gpu_labels=(("UUID", "uuid"), ("GPU_I_ID",)),
    model_labels=("modelName",),
    profile_labels=("GPU_I_PROFILE",),
    whole_cards=True,
)

# Whatever an operator's queries give: labels as any of the others has them.
CUSTOM: Final = Preset(
    name="custom",
    compute=Measure(()),
    memory=Measure(()),
    namespace_labels=("exported_namespace", "podnamespace", "pod_namespace", "namespace"),
    pod_labels=("exported_pod", "podname", "pod_name", "pod"),
    gpu_labels=(("UUID", "uuid", "device_uuid", "deviceuuid", "gpu"),),
    model_labels=("modelName",),
)

PRESETS: Final[Mapping[str, Preset]] = {
    preset.name: preset for preset in (TENSORFUSION, TENSORFUSION_GREPTIMEDB, HAMI, DCGM, CUSTOM)
}


def choose(
    name: str,
    *,
    tflops_query: str | None = None,
    vram_query: str | None = None,
    tflops_unit: Unit | None = None,
) -> Preset:
    """A preset, with an operator's queries in place of its own.

    Args:
        name: one of PRESETS.
        tflops_query: PromQL of the compute in use; None keeps the preset's.
        vram_query: PromQL of the VRAM in use, in bytes; None keeps the preset's.
        tflops_unit: what the query for TFLOPS gives; None: TFLOPS of an operator's query, else as the
            preset's exporter has it.

    Raises:
        ValueError: a query selects a range, the preset has no query of its own where none is given, or
            its unit is known; the text names the settings.
    """
    preset = PRESETS[name]
    for setting, query in (("tflops_query", tflops_query), ("vram_query", vram_query)):
        if query is not None and gives_range(query):
            raise ValueError(f"{setting} selects a range: give an instant vector, without [5m] at its end")
    if vram_query is not None:
        preset = replace(preset, memory=Measure((Reading(vram_query),)))
    if tflops_query is not None:
        preset = replace(preset, compute=_own(tflops_query, tflops_unit or Unit.TFLOPS))
    elif tflops_unit is not None:
        preset = replace(preset, compute=_in_unit(preset, tflops_unit))
    missing = [
        setting
        for setting, measure in (("tflops_query", preset.compute), ("vram_query", preset.memory))
        if not measure.readings
    ]
    if missing:
        raise ValueError(f"preset {name!r} has no queries of its own: set {' and '.join(missing)}")
    return preset


def _own(query: str, unit: Unit) -> Measure:
    scale = _PERCENT if unit is Unit.PERCENT else 1.0
    return Measure((Reading(query, scale),), of_card=unit is not Unit.TFLOPS)


def _in_unit(preset: Preset, unit: Unit) -> Measure:
    if not preset.compute.per_unit or unit is Unit.TFLOPS:
        raise ValueError(
            f"tflops_unit {unit.value!r} cannot be with preset {preset.name!r}, whose unit is known; "
            "it goes with a tflops_query of one's own, and ratio or percent with preset 'hami'"
        )
    scale = _PERCENT if unit is Unit.PERCENT else 1.0
    readings = tuple(Reading(reading.query, scale) for reading in preset.compute.readings)
    return replace(preset.compute, readings=readings)
