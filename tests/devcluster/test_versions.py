import re

import pytest

from devcluster.paths import tool_modules
from devcluster.versions import KUBE_APISERVER, PROMETHEUS, TOOLS, Tool

REPOSITORIES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kubernetes": "k8s.io/kubernetes",
    "kwok": "sigs.k8s.io/kwok",
    "prometheus": "github.com/prometheus/prometheus",
}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_version_of_a_tool_is_the_one_its_go_module_pins(tool: Tool) -> None:
    text = (tool_modules() / tool.module / "go.mod").read_text()
    pinned = re.search(rf"^\s*{re.escape(REPOSITORIES[tool.module])} (\S+)", text, re.MULTILINE)
    assert pinned is not None
    assert pinned.group(1) == tool.version


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tool_is_declared_as_a_tool_of_its_go_module(tool: Tool) -> None:
    text = (tool_modules() / tool.module / "go.mod").read_text()
    assert re.search(rf"^(tool|\t)\s*{re.escape(tool.package)}$", text, re.MULTILINE)


def test_kubernetes_is_stamped_with_its_version() -> None:
    assert "gitVersion=v1.37.2" in KUBE_APISERVER.link_flags()[1]


def test_the_recipe_tells_builds_with_other_tags_apart() -> None:
    plain = Tool(PROMETHEUS.name, PROMETHEUS.module, PROMETHEUS.package, PROMETHEUS.version)
    assert plain.recipe() != PROMETHEUS.recipe()
