"""What users write: the specs of workloads and profiles, and the annotations that win over them.

This package is the only place that knows spellings: keys without regard to case, synonyms, fractions and
quantities as numbers or as text. What comes out of it is typed, complete and checked.
"""

from vgpu.api.autoscaling import AutoScalingConfig, AutoSetReplicas, AutoSetResources, ExternalScaler
from vgpu.api.effective import CONFIGURING_ANNOTATIONS, annotation_problems, effective_spec
from vgpu.api.errors import ConfigurationError, Problem
from vgpu.api.workload import WorkloadSpec, parse_spec

__all__ = [
    "CONFIGURING_ANNOTATIONS",
    "AutoScalingConfig",
    "AutoSetReplicas",
    "AutoSetResources",
    "ConfigurationError",
    "ExternalScaler",
    "Problem",
    "WorkloadSpec",
    "annotation_problems",
    "effective_spec",
    "parse_spec",
]
