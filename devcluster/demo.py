"""The story that `make run` tells: one Deployment right-sized, another scaled, on a real control plane.

Time passes quickly by configuration (the demo's profiles and `services.QUICK_SETTINGS`); nothing is made up.
"""

import asyncio
import datetime as dt
import string
from importlib import resources
from pathlib import Path

from rich.console import Console

from devcluster.binaries import Binaries
from devcluster.chapters import RIGHT_SIZED, RULE, SCALED, RightSizing, Scaling
from devcluster.cluster import DevCluster
from devcluster.paths import manifests
from devcluster.services import ADAPTER, EXPORTER, RECOMMENDER, SERVICES_NAMESPACE, WEBHOOK, Services
from devcluster.story import Narrator
from devcluster.view import View
from vgpu.kube.client import KubeClient

NAMESPACE = "default"

RULE_LEAD = 25
"""Seconds from the deployment to the earliest start of the cron rule: a recommendation comes before it."""


def rule_window(now: dt.datetime) -> tuple[str, str, dt.datetime]:
    """The cron expressions of a window of one minute that begins soon, and when it begins."""
    earliest = now + dt.timedelta(seconds=RULE_LEAD + 60, microseconds=-1)
    start = earliest.replace(second=0, microsecond=0)
    end = start + dt.timedelta(minutes=1)
    return f"{start.minute} {start.hour} * * *", f"{end.minute} {end.hour} * * *", start


async def tell(*, binaries: Binaries, directory: Path, once: bool, console: Console) -> None:
    """Starts everything, tells the story, and keeps everything running unless `once` is set.

    Raises:
        StoryFailed: A step did not happen in time.
        DevClusterError: A process did not start, or died.
    """
    narrator = Narrator(console)
    async with DevCluster(directory, binaries=binaries) as cluster:
        narrator.say("control plane up: etcd, kube-apiserver, controllers, scheduler, GPU nodes, Prometheus")
        narrator.detail(f"logs: {cluster.logs}")
        async with await KubeClient.connect(kubeconfig=cluster.kubeconfig, user_agent="demo") as client:
            view = View(cluster=cluster, client=client, namespace=NAMESPACE)
            await _install(cluster, narrator)
            rule_starts = await _deploy(cluster, narrator)
            right_sizing = RightSizing(
                view=view,
                narrator=narrator,
                prometheus_url=cluster.prometheus_url,
                rule_starts=rule_starts,
            )
            scaling = Scaling(view=view, narrator=narrator)
            await cluster.supervisor.guard(_chapters(right_sizing, scaling))
            narrator.say("the story is told")
            if not once:
                _look_around(cluster, narrator)
                await cluster.supervisor.failed


async def prepare(cluster: DevCluster) -> None:
    """Creates our CustomResourceDefinitions and the services' namespace, as the README tells a user to."""
    await cluster.kubectl("create", "-k", str(manifests() / "crds"))
    await cluster.kubectl("create", "namespace", SERVICES_NAMESPACE)
    await cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


async def _install(cluster: DevCluster, narrator: Narrator) -> None:
    await prepare(cluster)
    services = Services(cluster)
    async with asyncio.TaskGroup() as starting:
        for name in (EXPORTER, RECOMMENDER, WEBHOOK, ADAPTER):
            starting.create_task(services.start(name))
    cluster.set_scrape_targets(services.scrape_targets())
    narrator.say("recommender, webhook and metrics adapter are ready, each a process of its own")


async def _deploy(cluster: DevCluster, narrator: Narrator) -> dt.datetime:
    start, end, starts = rule_window(dt.datetime.now(dt.UTC))
    folder = resources.files("devcluster").joinpath("data/demo")
    for name in (RIGHT_SIZED, SCALED):
        text = folder.joinpath(f"{name}.yaml").read_text("utf-8")
        # Only the first has placeholders; a manifest without any passes through unchanged.
        await cluster.kubectl(
            "apply", "-f", "-", input=string.Template(text).substitute(start=start, end=end)
        )
    narrator.say(f"deployed {RIGHT_SIZED} (auto-resources) and {SCALED} (auto-replicas)")
    narrator.detail(f'cron rule "{RULE}" of {RIGHT_SIZED} is active from "{start}" to "{end}" (UTC)')
    return starts


async def _chapters(*chapters: RightSizing | Scaling) -> None:
    async with asyncio.TaskGroup() as telling:
        for chapter in chapters:
            telling.create_task(chapter.tell())


def _look_around(cluster: DevCluster, narrator: Narrator) -> None:
    """Says how a person looks at what is running."""
    kubectl = cluster.binaries.kubectl
    narrator.say("everything keeps running; look around from another shell, Ctrl-C ends it all:")
    narrator.detail(f"export KUBECONFIG={cluster.kubeconfig}")
    narrator.detail(f"{kubectl} get tfw,hpa,pods")
    narrator.detail(f"{kubectl} get tfw {RIGHT_SIZED} -o yaml")
    narrator.detail(f"Prometheus: {cluster.prometheus_url}")
