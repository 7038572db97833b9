"""Labels and annotations: the part of the contract that stands on pods and their templates."""

from typing import Final

GROUP: Final = "tensor-fusion.ai"

ENABLED_LABEL: Final = f"{GROUP}/enabled"
"""Pod label, the gate: only pods that carry it as "true" are looked at."""
GATE_SELECTOR: Final = f"{ENABLED_LABEL}=true"
"""The gate as a label selector for lists and watches."""

TFLOPS_REQUEST: Final = f"{GROUP}/tflops-request"
TFLOPS_LIMIT: Final = f"{GROUP}/tflops-limit"
VRAM_REQUEST: Final = f"{GROUP}/vram-request"
VRAM_LIMIT: Final = f"{GROUP}/vram-limit"

WORKLOAD_PROFILE: Final = f"{GROUP}/workload-profile"
"""Name of a WorkloadProfile in the pod's namespace; the pod's own annotations win over it, field by field."""

AUTO_RESOURCES: Final = f"{GROUP}/auto-resources"
AUTO_SCALE_TARGET_RESOURCE: Final = f"{GROUP}/auto-scale-target-resource"
AUTO_REPLICAS: Final = f"{GROUP}/auto-replicas"
AUTOSCALE: Final = f"{GROUP}/autoscale"
"""The newer spelling of AUTO_RESOURCES; without a target it means all resources."""
AUTOSCALE_TARGET: Final = f"{GROUP}/autoscale-target"
"""The newer spelling of AUTO_SCALE_TARGET_RESOURCE."""

UPDATE_MODE: Final = f"{GROUP}/update-mode"
"""Whether running pods are made anew when they lack what is recommended: "Initial" (no) or "Recreate"."""
EVICT: Final = f"{GROUP}/evict"
"""As "false" it keeps the update mode Recreate from evicting the pod."""

AUTOSCALING_CONFIG: Final = f"{GROUP}/autoscaling-config"
"""On a WorkloadProfile, in companion mode: an autoScalingConfig as YAML, over the one in its spec."""

WORKLOAD: Final = f"{GROUP}/workload"
"""Name of the pod's TensorFusionWorkload, set by the webhook or by a person; once set, everyone uses it."""
ORIGINAL_RESOURCES: Final = f"{GROUP}/original-resources"
"""The slice as the pod's template asked for it, as JSON: the baseline."""
APPLIED_RECOMMENDATION: Final = f"{GROUP}/applied-recommendation"
"""A short digest, for each resource, of the recommendation or rule that the pod got."""

EXTERNAL_SCALER: Final = f"{GROUP}/external-scaler"
"""Label of a Secret: as "true" it lets the Secret's token be sent to an external scaler of its namespace."""

VRAM_PREALLOCATED: Final = f"{GROUP}/vram-preallocated"
HPA_METRIC: Final = f"{GROUP}/hpa-metric"
