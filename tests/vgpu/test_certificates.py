import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from vgpu.certificates import ServingPair, issue_serving_pair, server_context

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAME = "vgpu-autoscaler-webhook.vgpu-autoscaler.svc"


def issue(**changes: object) -> ServingPair:
    arguments: dict[str, object] = {"dns_names": [NAME], "now": NOW, "common_name": NAME}
    return issue_serving_pair(**{**arguments, **changes})  # type: ignore[arg-type]


def leaf(pair: ServingPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate_pem)


def authority(pair: ServingPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.ca_pem)


def verify(pair: ServingPair, *, name: str | ipaddress.IPv4Address = NAME, at: datetime = NOW) -> None:
    subject = x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name)
    policy = PolicyBuilder().store(Store([authority(pair)])).time(at)
    policy.build_server_verifier(subject).verify(leaf(pair), [])


def test_the_certificate_is_good_for_its_names_by_its_ca() -> None:
    verify(issue())


def test_the_certificate_is_good_for_its_addresses() -> None:
    verify(issue(ip_addresses=["127.0.0.1"]), name=ipaddress.IPv4Address("127.0.0.1"))


def test_the_certificate_is_not_good_for_another_name() -> None:
    with pytest.raises(VerificationError):
        verify(issue(), name="another.svc")


def test_the_certificate_of_one_issue_is_not_good_by_the_ca_of_another() -> None:
    first, second = issue(), issue()
    mixed = ServingPair(first.ca_pem, second.certificate_pem, second.key_pem)
    with pytest.raises(VerificationError):
        verify(mixed)


@pytest.mark.parametrize("days", [0, 364])
def test_the_certificate_lives_for_a_year(days: int) -> None:
    verify(issue(), at=NOW + timedelta(days=days))


def test_the_certificate_is_over_after_a_year() -> None:
    with pytest.raises(VerificationError):
        verify(issue(), at=NOW + timedelta(days=366))


def test_a_clock_a_minute_behind_accepts_the_certificate() -> None:
    verify(issue(), at=NOW - timedelta(minutes=1))


def test_the_ca_lives_for_ten_years() -> None:
    assert authority(issue()).not_valid_after_utc == NOW + timedelta(days=3650)


def test_the_pair_tells_when_it_ends() -> None:
    assert issue().expires == NOW + timedelta(days=365)


def test_both_keys_are_on_the_curve_p_256() -> None:
    pair = issue()
    keys = [leaf(pair).public_key(), authority(pair).public_key()]
    assert all(isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1" for key in keys)


def test_a_very_long_common_name_is_cut_and_the_name_still_verifies() -> None:
    name = ".".join(["a" * 60] * 3)
    verify(issue(dns_names=[name], common_name=name), name=name)


def test_a_certificate_without_any_name_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one DNS name or address"):
        issue(dns_names=[])


def test_a_pair_does_not_show_its_key() -> None:
    assert "PRIVATE" not in repr(issue())


def test_a_context_refuses_old_protocols() -> None:
    assert server_context(issue()).minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_context_without_client_ca_asks_for_no_certificate() -> None:
    assert server_context(issue()).verify_mode == ssl.CERT_NONE


def test_a_context_with_client_cas_takes_them_all() -> None:
    both = issue().ca_pem + issue().ca_pem
    context = server_context(issue(), client_ca_pem=both)
    assert context.verify_mode == ssl.CERT_OPTIONAL
    assert context.cert_store_stats()["x509_ca"] == 2


def test_a_certificate_with_the_key_of_another_is_refused() -> None:
    first, second = issue(), issue()
    with pytest.raises(ssl.SSLError):
        server_context(ServingPair(first.ca_pem, first.certificate_pem, second.key_pem))
