"""The shared kernel of the three services: objects, slices, schedules, Kubernetes and Prometheus access."""

__version__ = "0.1.0"
