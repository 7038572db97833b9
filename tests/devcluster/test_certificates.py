import contextlib
import datetime as dt
import ssl
import stat
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from devcluster.certificates import service_account_pair
from devcluster.kubeconfigs import write_kubeconfig
from vgpu.authority import Authority, Pair

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("test", now=NOW)


def test_a_client_certificate_names_the_user_and_its_groups(authority: Authority) -> None:
    pair = authority.client("admin", groups=["system:masters"])
    subject = x509.load_pem_x509_certificate(pair.certificate).subject
    assert subject.rfc4514_string() == "CN=admin,O=system:masters"


def test_a_server_certificate_carries_names_and_addresses(authority: Authority) -> None:
    pair = authority.server("kube-apiserver", names=["localhost"], addresses=["127.0.0.1"])
    found = x509.load_pem_x509_certificate(pair.certificate).extensions.get_extension_for_oid(
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME
    )
    assert "localhost" in str(found.value)
    assert "127.0.0.1" in str(found.value)


def context(purpose: ssl.Purpose, pair: Pair, *, trusts: Authority, folder: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(purpose, cadata=trusts.certificate.decode())
    made.verify_mode = ssl.CERT_REQUIRED
    # The default from Python 3.13 on.
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    files = pair.write(folder, purpose.name)
    made.load_cert_chain(files.certificate, files.key)
    return made


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A TLS handshake in memory, each side verifying the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    # Refuses to answer where the handshake is not through.
    assert all(end.getpeercert() for end in ends)


@pytest.fixture
def server_context(tmp_path: Path) -> tuple[Authority, ssl.SSLContext]:
    authority = Authority("ours", now=dt.datetime.now(dt.UTC))
    pair = authority.server("kube-apiserver", names=["localhost"], addresses=["127.0.0.1"])
    return authority, context(ssl.Purpose.CLIENT_AUTH, pair, trusts=authority, folder=tmp_path)


def test_server_and_client_of_one_authority_trust_each_other_strictly(
    server_context: tuple[Authority, ssl.SSLContext], tmp_path: Path
) -> None:
    authority, server = server_context
    pair = authority.client("admin")
    shake_hands(server, context(ssl.Purpose.SERVER_AUTH, pair, trusts=authority, folder=tmp_path))


def test_a_client_of_another_authority_is_refused(
    server_context: tuple[Authority, ssl.SSLContext], tmp_path: Path
) -> None:
    authority, server = server_context
    stranger = Authority("ours", now=dt.datetime.now(dt.UTC)).client("admin")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, context(ssl.Purpose.SERVER_AUTH, stranger, trusts=authority, folder=tmp_path))


def test_a_pair_on_the_disk_makes_a_tls_context(authority: Authority, tmp_path: Path) -> None:
    files = authority.client("someone").write(tmp_path, "someone")
    ssl.create_default_context().load_cert_chain(files.certificate, files.key)


def test_a_key_is_for_the_owner_only(authority: Authority, tmp_path: Path) -> None:
    files = authority.client("someone").write(tmp_path, "someone")
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600


def test_service_account_keys_are_rsa(tmp_path: Path) -> None:
    pair = service_account_pair()
    assert pair.certificate.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert pair.key.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_kubeconfig_is_whole_in_itself_and_for_the_owner_only(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "admin.yaml"
    write_kubeconfig(
        path, server="https://127.0.0.1:1", authority=authority.certificate, client=authority.client("admin")
    )
    config = yaml.safe_load(path.read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
