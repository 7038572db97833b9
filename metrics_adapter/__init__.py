"""The metrics adapter: serves what GPU pods use to HorizontalPodAutoscalers and kubectl."""
