"""The programs of the control plane: with which flags each is started, and when it is ready."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devcluster import paths
from devcluster.binaries import Binaries
from devcluster.layout import Layout
from devcluster.ports import Ports
from devcluster.probes import answers, trusting, unverified
from devcluster.processes import Ready
from devcluster.scraping import Scraping

ETCD = "etcd"
KUBE_APISERVER = "kube-apiserver"
KUBE_CONTROLLER_MANAGER = "kube-controller-manager"
KUBE_SCHEDULER = "kube-scheduler"
KWOK = "kwok"
PROMETHEUS = "prometheus"

# For thousands of objects: 500 Deployments are 500 running pods in half a minute.
_CLIENT_RATE = ("--kube-api-qps=500", "--kube-api-burst=1000")


@dataclass(frozen=True, slots=True)
class Component:
    """How to start one program, how to know that it is ready, and how long to wait for its end in seconds."""

    name: str
    argv: tuple[str, ...]
    ready: Ready
    patience: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """Knows every component of the cluster in `layout`; the ports are chosen when it is made."""

    layout: Layout
    binaries: Binaries
    etcd_port: int
    etcd_peer_port: int
    api_port: int
    controller_manager_port: int
    scheduler_port: int
    kwok_port: int
    prometheus_port: int

    @classmethod
    def on(cls, ports: Ports, *, layout: Layout, binaries: Binaries) -> "ControlPlane":
        """The control plane on free ports."""
        return cls(
            layout=layout,
            binaries=binaries,
            etcd_port=ports.free(),
            etcd_peer_port=ports.free(),
            api_port=ports.free(),
            controller_manager_port=ports.free(),
            scheduler_port=ports.free(),
            kwok_port=ports.free(),
            prometheus_port=ports.free(),
        )

    @property
    def server(self) -> str:
        """The address of kube-apiserver."""
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def prometheus_url(self) -> str:
        """The address of Prometheus."""
        return f"http://127.0.0.1:{self.prometheus_port}"

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig of one client."""
        return self.layout.kubeconfigs / f"{user}.yaml"

    def components(self) -> dict[str, Component]:
        """All components by name."""
        return {component.name: component for component in self._components()}

    def _components(self) -> Iterator[Component]:
        yield self._etcd()
        yield self._kube_apiserver()
        yield self._kube_controller_manager()
        yield self._kube_scheduler()
        yield self._kwok()
        yield self._prometheus()

    def _etcd(self) -> Component:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, self.etcd_peer_port))
        argv = (
            str(self.binaries.etcd),
            f"--data-dir={self.layout.etcd}/data",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # Nothing here is worth surviving a power cut.
            "--unsafe-no-fsync",
        )
        return Component(ETCD, argv, answers(f"{client}/health"))

    def _kube_apiserver(self) -> Component:
        certificates = self.layout.certificates
        argv = (
            str(self.binaries.kube_apiserver),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.api_port}",
            # Without it the API server would publish 127.0.0.1 as an endpoint, which validation refuses.
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--authorization-mode=RBAC",
            f"--cert-dir={certificates}",
            f"--tls-cert-file={certificates}/kube-apiserver.crt",
            f"--tls-private-key-file={certificates}/kube-apiserver.key",
            f"--client-ca-file={certificates}/ca.crt",
            f"--requestheader-client-ca-file={certificates}/front-proxy-ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={certificates}/front-proxy-client.crt",
            f"--proxy-client-key-file={certificates}/front-proxy-client.key",
            f"--service-account-key-file={certificates}/service-accounts.crt",
            f"--service-account-signing-key-file={certificates}/service-accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
        )
        # /readyz is open to everyone who can reach it.
        ready = answers(f"{self.server}/readyz", context=partial(trusting, certificates / "ca.crt"))
        # On SIGTERM it waits for its clients, and for etcd, for longer than anyone here wants to.
        return Component(KUBE_APISERVER, argv, ready, patience=2.0)

    def _kube_controller_manager(self) -> Component:
        certificates = self.layout.certificates
        kubeconfig = self.kubeconfig(KUBE_CONTROLLER_MANAGER)
        argv = (
            str(self.binaries.kube_controller_manager),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.controller_manager_port}",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--root-ca-file={certificates}/ca.crt",
            f"--service-account-private-key-file={certificates}/service-accounts.key",
            # An HPA shows what it does in seconds instead of minutes.
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--horizontal-pod-autoscaler-downscale-stabilization=5s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=0s",
            "--concurrent-deployment-syncs=20",
            "--concurrent-replicaset-syncs=20",
            "--concurrent-gc-syncs=20",
            *_CLIENT_RATE,
        )
        ready = answers(f"https://127.0.0.1:{self.controller_manager_port}/healthz", context=unverified)
        return Component(KUBE_CONTROLLER_MANAGER, argv, ready)

    def _kube_scheduler(self) -> Component:
        kubeconfig = self.kubeconfig(KUBE_SCHEDULER)
        argv = (
            str(self.binaries.kube_scheduler),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.scheduler_port}",
            "--leader-elect=false",
            *_CLIENT_RATE,
        )
        ready = answers(f"https://127.0.0.1:{self.scheduler_port}/healthz", context=unverified)
        return Component(KUBE_SCHEDULER, argv, ready)

    def _kwok(self) -> Component:
        argv = (
            str(self.binaries.kwok),
            f"--kubeconfig={self.kubeconfig('admin')}",
            f"--config={paths.stages()}",
            "--manage-all-nodes=true",
            "--node-ip=127.0.0.1",
            "--node-lease-duration-seconds=40",
            # Not in the services' range; nothing listens there.
            "--cidr=10.244.0.0/16",
            f"--server-address=127.0.0.1:{self.kwok_port}",
        )
        return Component(KWOK, argv, answers(f"http://127.0.0.1:{self.kwok_port}/readyz"))

    def _prometheus(self) -> Component:
        folder = self.layout.prometheus
        argv = (
            str(self.binaries.prometheus),
            f"--config.file={Scraping(folder).configuration}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
            # A changed set of targets is felt after a second instead of five.
            "--scrape.discovery-reload-interval=1s",
        )
        return Component(PROMETHEUS, argv, answers(f"{self.prometheus_url}/-/ready"))
