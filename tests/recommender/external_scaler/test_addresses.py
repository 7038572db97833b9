import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from yarl import URL

from recommender.external_scaler.addresses import Address, AllowList, NotListed
from recommender.external_scaler.client import _url
from recommender.settings import RecommenderSettings

LIST = AllowList(["https://scaler.example.com/vgpu", "http://10.0.0.7:8080", "http://[fd00::7]/a/"])


@pytest.mark.parametrize(
    "url",
    [
        "https://scaler.example.com/vgpu",
        "https://scaler.example.com/vgpu/",
        "https://scaler.example.com/vgpu/advise?model=a%20b",
        "https://scaler.example.com:443/vgpu/advise",
        "HTTPS://Scaler.EXAMPLE.com/vgpu",
        "http://10.0.0.7:8080",
        "http://10.0.0.7:8080/any/path",
        "http://[FD00:0:0::7]/a/b",
        "http://[fd00::7]:80/a",
    ],
)
def test_what_lies_at_or_below_a_listed_address_is_allowed(url: str) -> None:
    LIST.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://scaler.example.com/vgpu",
        "https://scaler.example.com",
        "https://scaler.example.com/",
        "https://scaler.example.com/vgpu2",
        "https://scaler.example.com/Vgpu",
        "https://scaler.example.com/vgpu/../admin",
        "https://scaler.example.com/vgpu/./a",
        "https://scaler.example.com/vgpu/..",
        "https://scaler.example.com/vgpu/%2e%2e/admin",
        "https://scaler.example.com/vgpu/%252e%252e/admin",
        "https://scaler.example.com/vgpu/..;/admin",
        "https://scaler.example.com/vgpu\\..\\admin",
        "https://scaler.example.com/%76gpu",
        "https://scaler.example.com./vgpu",
        "https://scaler.example.com:8443/vgpu",
        "https://scaler.example.com:0443/vgpu",
        "https://scaler.example.com:/vgpu",
        "https://scaler.example.com:65979/vgpu",
        "https://scaler.example.com@evil.example/vgpu",
        "https://user:word@scaler.example.com/vgpu",
        "https://evil.example#@scaler.example.com/vgpu",
        "https://evil.example\\@scaler.example.com/vgpu",
        "https://scaler.example.com.evil.example/vgpu",
        "https://evil.example/https://scaler.example.com/vgpu",
        "https://scaler.example.com/vgpu#fragment",
        "https://scaler.example.com\t/vgpu",
        "https://scaler.example.com/vgpu\n",
        " https://scaler.example.com/vgpu",
        "https:///scaler.example.com/vgpu",
        "https:scaler.example.com/vgpu",
        "//scaler.example.com/vgpu",
        "https://scaler。example.com/vgpu",
        "https://ſcaler.example.com/vgpu",  # noqa: RUF001 - lower case of it is s for some
        "httpſ://scaler.example.com/vgpu",  # noqa: RUF001 - likewise
        "httpſ://scaler.example.com:443/vgpu",  # noqa: RUF001 - likewise
        "ftp://10.0.0.7:8080",
        "http://0x0a000007:8080",
        "http://167772167:8080",
        "http://10.7:8080",
        "http://010.0.0.7:8080",
        "http://[::ffff:10.0.0.7]:8080",
        "http://[fd00::7%25eth0]/a",
        "https://scaler.example.com/vgpu/" + "a" * 2048,
    ],
)
def test_nothing_else_slips_through(url: str) -> None:
    with pytest.raises(NotListed):
        LIST.check(url)


def test_what_is_not_allowed_is_told_without_its_query_or_password() -> None:
    for url in ("https://other.example/a?token=hush", "https://user:hush@scaler.example.com/vgpu"):
        with pytest.raises(NotListed) as raised:
            LIST.check(url)
        assert "hush" not in str(raised.value)


TRICKY = st.text(alphabet="/.%:@?#[]\\;&=-_~ \t\n" + "aA0x2eE5fF" + "é。", max_size=20)
PIECES = st.lists(
    st.sampled_from(["https://", "http://", "scaler.example.com", "/vgpu", "..", "%2e", "@", ":", "443", "/"])
    | TRICKY,
    max_size=8,
).map("".join)


@given(PIECES | TRICKY.map(lambda tail: f"https://scaler.example.com/vgpu{tail}"))
@example("https://scaler.example.com/vgpu/a?/../b")
def test_whatever_is_allowed_is_sent_to_the_listed_place_and_nowhere_else(text: str) -> None:
    allowed = AllowList(["https://scaler.example.com/vgpu"])
    try:
        address, _ = allowed.check(text)
    except NotListed:
        return
    url = _url(address)
    assert (url.scheme, url.host, url.port, url.user, url.fragment) == (
        "https",
        "scaler.example.com",
        443,
        None,
        "",
    )
    # What any server could make of the path lies below the listed one, too.
    for seen in (url.raw_path, url.path, URL(text).path):
        assert seen == "/vgpu" or seen.startswith("/vgpu/")
        assert not {"..", "."} & set(seen.split("/"))


@given(st.text(string.printable, max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(_url(address))).covers(address)


def test_an_entry_that_cannot_be_compared_is_refused_with_the_settings() -> None:
    for url in ("scaler.example.com", "https://scaler.example.com/a?b=c", "https://a@b.example"):
        with pytest.raises(ValidationError, match="external_scaler_urls"):
            RecommenderSettings(prometheus_url="http://127.0.0.1:9090", external_scaler_urls=(url,))
