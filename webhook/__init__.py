"""The admission webhook: gives a new pod the GPU slice that was recommended for its workload."""
