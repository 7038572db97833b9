"""`vgpu-autoscaler simulate`: the recommender's own engine on a file of usage, without a cluster."""
