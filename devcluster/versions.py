"""Which programs make up the control plane, in which version, and how each is compiled.

The versions are those of the go.mod files in `tools/`; a unit test holds the two together.
"""

from dataclasses import dataclass

_KUBERNETES = "v1.37.2"
_VERSION_PACKAGE = "k8s.io/component-base/version"
# Without these kubectl and clients see v0.0.0 and misjudge the version skew.
_KUBERNETES_STAMP = (
    f"-X {_VERSION_PACKAGE}.gitVersion={_KUBERNETES}",
    f"-X {_VERSION_PACKAGE}.gitMajor=1",
    f"-X {_VERSION_PACKAGE}.gitMinor=37",
)


@dataclass(frozen=True, slots=True)
class Tool:
    """One program, compiled as a Go tool dependency of the module `tools/<module>`."""

    name: str
    module: str
    package: str
    version: str
    tags: tuple[str, ...] = ()
    stamp: tuple[str, ...] = ()

    def build_flags(self) -> list[str]:
        """The flags that decide what is compiled; `go list` needs them too, to know what is cached."""
        tags = ["-tags", ",".join(self.tags)] if self.tags else []
        return ["-trimpath", *tags]

    def link_flags(self) -> list[str]:
        """The flags of the linker: no debug information, and the version."""
        return ["-ldflags", " ".join(("-s -w", *self.stamp))]

    def recipe(self) -> str:
        """Everything that decides what the binary is; a cached one from another recipe is not used."""
        return " ".join([self.package, self.version, *self.build_flags(), *self.link_flags()])


def _kubernetes(name: str) -> Tool:
    return Tool(
        name=name,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        version=_KUBERNETES,
        stamp=_KUBERNETES_STAMP,
    )


ETCD = Tool(name="etcd", module="etcd", package="go.etcd.io/etcd/server/v3", version="v3.6.16")
KUBE_APISERVER = _kubernetes("kube-apiserver")
KUBE_CONTROLLER_MANAGER = _kubernetes("kube-controller-manager")
KUBE_SCHEDULER = _kubernetes("kube-scheduler")
KUBECTL = _kubernetes("kubectl")
KWOK = Tool(name="kwok", module="kwok", package="sigs.k8s.io/kwok/cmd/kwok", version="v0.8.0")
PROMETHEUS = Tool(
    name="prometheus",
    module="prometheus",
    package="github.com/prometheus/prometheus/cmd/prometheus",
    version="v0.316.0",
    # The clouds' service discoveries are most of Prometheus' code; file_sd and static targets stay.
    tags=("remove_all_sd", "enable_kubernetes_sd"),
)

TOOLS = (ETCD, KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER, KUBECTL, KWOK, PROMETHEUS)
