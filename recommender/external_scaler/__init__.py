"""External scalers: services that are asked for recommendations, where the operator allows it."""
