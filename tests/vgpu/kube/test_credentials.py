import base64
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from vgpu.certificates import issue_serving_pair
from vgpu.kube import credentials as module
from vgpu.kube.credentials import Credentials
from vgpu.kube.errors import KubeConfigError

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def write(path: Path, text: str) -> None:
    path.write_text(text)


def remove(path: Path) -> None:
    path.unlink()


def write_kubeconfig(
    path: Path, *, server: str = "http://127.0.0.1:1", user: dict[str, Any] | None = None
) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("of-the-pod")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    ca.write_bytes(issue_serving_pair(dns_names=["localhost"], now=now, common_name="test").ca_pem)
    monkeypatch.setattr(module, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(module, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return token


async def test_a_kubeconfig_that_is_given_wins(tmp_path: Path) -> None:
    given = write_kubeconfig(tmp_path / "given", server="http://given:1")
    other = write_kubeconfig(tmp_path / "other", server="http://other:1")
    credentials = await Credentials.load(given, environ={"KUBECONFIG": str(other)})
    assert credentials.server == "http://given:1"


async def test_the_environments_kubeconfig_comes_before_the_service_account(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", server="http://other:1")
    environ = {"KUBECONFIG": str(path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert (await Credentials.load(None, environ=environ)).server == "http://other:1"


async def test_the_environment_may_list_several_kubeconfigs(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", server="http://second:1")
    environ = {"KUBECONFIG": f"{tmp_path / 'absent'}:{path}"}
    assert (await Credentials.load(None, environ=environ)).server == "http://second:1"


async def test_the_default_kubeconfig_comes_last(home: Path) -> None:
    write_kubeconfig(home / ".kube" / "config", server="http://home:1")
    assert (await Credentials.load(None, environ={})).server == "http://home:1"


async def test_without_any_configuration_the_error_says_what_to_give(home: Path) -> None:
    with pytest.raises(KubeConfigError, match=r"\.kube/config .* does not exist; give --kubeconfig"):
        await Credentials.load(None, environ={})


async def test_a_kubeconfig_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeConfigError, match="absent does not exist"):
        await Credentials.load(tmp_path / "absent", environ={})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "plain", "current-context: x\n", "current-context: x\ncontexts: []\nclusters: []\n"],
)
async def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(KubeConfigError, match=r"broken cannot be used: ."):
        await Credentials.load(path, environ={})


async def test_a_server_address_without_a_scheme_is_refused(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", server="127.0.0.1:6443")
    with pytest.raises(KubeConfigError, match=r"'127\.0\.0\.1:6443' must start with https"):
        await Credentials.load(path, environ={})


async def test_a_certificate_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = write_kubeconfig(
        tmp_path / "config", server="https://127.0.0.1:1", user={"client-certificate": "absent.crt"}
    )
    with pytest.raises(KubeConfigError, match=r"absent\.crt"):
        await Credentials.load(path, environ={})


async def test_certificate_data_that_is_no_certificate_names_the_kubeconfig(tmp_path: Path) -> None:
    data = base64.b64encode(b"junk").decode()
    user = {"client-certificate-data": data, "client-key-data": data}
    path = write_kubeconfig(tmp_path / "config", server="https://127.0.0.1:1", user=user)
    with pytest.raises(KubeConfigError, match="config cannot be used"):
        await Credentials.load(path, environ={})


async def test_a_token_becomes_the_authorization(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", user={"token": "abc"})
    assert await (await Credentials.load(path, environ={})).authorization() == "Bearer abc"


async def test_without_a_token_there_is_no_authorization(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config")
    assert await (await Credentials.load(path, environ={})).authorization() is None


async def test_a_token_file_is_read_again_on_reload(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    path = write_kubeconfig(tmp_path / "config", user={"tokenFile": "token"})
    credentials = await Credentials.load(path, environ={})
    assert await credentials.authorization() == "Bearer first"
    (tmp_path / "token").write_text("second\n")
    assert await (await credentials.reload()).authorization() == "Bearer second"


async def test_an_exec_plugin_is_asked_for_the_token(tmp_path: Path) -> None:
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": "from-the-plugin"}}
    plugin = {
        "apiVersion": version,
        "command": sys.executable,
        "args": ["-c", f"print('''{json.dumps(answer)}''')"],
    }
    path = write_kubeconfig(tmp_path / "config", user={"exec": plugin})
    assert await (await Credentials.load(path, environ={})).authorization() == "Bearer from-the-plugin"


async def test_an_exec_plugin_that_fails_is_told_with_its_own_words(tmp_path: Path) -> None:
    script = "import sys; sys.exit('no session, log in first')"
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", script],
    }
    path = write_kubeconfig(tmp_path / "config", user={"exec": plugin})
    with pytest.raises(KubeConfigError, match="no session, log in first"):
        await Credentials.load(path, environ={})


async def test_an_exec_plugin_that_is_not_installed_is_named(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}
    path = write_kubeconfig(tmp_path / "config", user={"exec": plugin})
    with pytest.raises(KubeConfigError, match="no-such-plugin"):
        await Credentials.load(path, environ={})


async def test_a_service_account_whose_ca_is_broken_is_an_error(service_account: Path) -> None:
    service_account.with_name("ca.crt").write_text("not a certificate")
    with pytest.raises(KubeConfigError, match="the pod's service account cannot be used"):
        await Credentials.load(None, environ=IN_CLUSTER)


async def test_a_service_account_without_its_token_is_an_error(service_account: Path) -> None:
    remove(service_account)
    with pytest.raises(KubeConfigError, match="token file does not exist"):
        await Credentials.load(None, environ=IN_CLUSTER)


async def test_in_a_pod_the_service_account_is_used(service_account: Path) -> None:
    credentials = await Credentials.load(None, environ=IN_CLUSTER)
    assert credentials.server == "https://10.0.0.1:443"
    assert await credentials.authorization() == "Bearer of-the-pod"


async def test_a_service_accounts_rotated_token_is_taken_on_reload(service_account: Path) -> None:
    credentials = await Credentials.load(None, environ=IN_CLUSTER)
    write(service_account, "rotated")
    assert await (await credentials.reload()).authorization() == "Bearer rotated"
