"""Kubernetes access: typed objects, one client, a list + watch reflector, patches and errors."""
