"""The user documentation's example, as it is written there, numbers and all."""

from typing import Any

import yaml

AUTO_SCALING_CONFIG = """
autoScalingConfig:
    # Vertical scaling configuration
    autoSetResources:
      enable: true
      targetResource: all
      targetTflopsPercentile: 0.9
      lowerBoundTflopsPercentile: 0.5
      upperBoundTflopsPercentile: 0.95
      targetVramPercentile: 0.9
      lowerBoundVramPercentile: 0.5
      upperBoundVramPercentile: 0.95
      requestMarginFraction: 0.15
      confidenceInterval: 24h
    autoSetReplicas: {}
    # Cron-based scaling configuration
    cronScalingRules:
      - enable: True
        name: "test"
        start: "0 0 * * Thu"
        end: "59 23 * * Thu"
        desiredResources:
          limits:
            tflops: "99"
            vram: 10Gi
          requests:
            tflops: "44"
            vram: 5Gi
"""

STATUS = """
conditions:
  - lastTransitionTime: '2025-10-09T09:16:46Z'
    message: TFLOPS scaled up due to (1) below lower bound (2)
    reason: OutOfEstimatedBound
    status: 'True'
    type: RecommendationProvided
recommendation:
  limits:
    tflops: '13'
    vram: 1Gi
  requests:
    tflops: '13'
    vram: 1Gi
appliedRecommendedReplicas: 3
"""


def documented_spec() -> dict[str, Any]:
    """A spec with the documentation's `autoScalingConfig`, as a YAML reader gives it."""
    spec: dict[str, Any] = yaml.safe_load(AUTO_SCALING_CONFIG)
    return spec


def documented_status() -> dict[str, Any]:
    """The documentation's status, without the active rule that it leaves open."""
    status: dict[str, Any] = yaml.safe_load(STATUS)
    return status
