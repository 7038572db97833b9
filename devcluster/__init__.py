"""A real Kubernetes control plane on one machine, without containers, on the loopback interface only.

`binaries` obtains the programs, `cluster` starts, watches and stops them. `make cluster`, `make run` and the
end-to-end tests all stand on it.
"""
