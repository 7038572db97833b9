"""Whether kube-apiserver answers: told after a while, and waited for by all but one at a time."""

import asyncio

import pytest

from tests.support.builders import pod
from tests.support.fake_kube import FakeKube
from tests.support.virtual_time import run
from vgpu.kube.contact import Contact
from vgpu.kube.errors import ApiUnreachable, Forbidden, NotFound, ServerFailure, Throttled
from vgpu.kube.objects import Pod
from vgpu.kube.resources import PODS

LOST = ApiUnreachable("https://kube", "GET /: connection refused")
REFUSED = Forbidden(verb="GET", path="/", code=403, reason="Forbidden", message="no")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def free() -> None:
    """A turn that nobody waits for."""


def test_a_server_that_has_not_answered_for_a_while_is_a_problem() -> None:
    clock = Clock()
    contact = Contact(clock=clock)
    contact.failed(LOST)
    clock.now += 2
    assert contact.problem() is None
    clock.now += 10
    assert contact.problem() == f"{LOST}; this has been so for 12 s"


@pytest.mark.parametrize("answer", [Contact.answered, lambda contact: contact.failed(REFUSED)])
def test_any_answer_ends_the_problem(answer: object) -> None:
    clock = Clock()
    contact = Contact(clock=clock)
    contact.failed(LOST)
    clock.now += 60
    assert callable(answer)
    answer(contact)
    assert contact.problem() is None


def test_a_problem_lasts_from_the_first_failure_on() -> None:
    clock = Clock()
    contact = Contact(clock=clock)
    for _ in range(4):
        contact.failed(LOST)
        clock.now += 1
    assert "for 4 s" in (contact.problem() or "")


def test_while_nothing_is_answered_one_at_a_time_goes_on_to_try() -> None:
    async def play() -> None:
        contact, tried = Contact(), list[float]()
        loop = asyncio.get_running_loop()
        contact.failed(LOST)

        async def writer() -> None:
            await contact.before(free)()
            tried.append(loop.time())

        begin = loop.time()
        tasks = [asyncio.create_task(writer()) for _ in range(5)]
        await asyncio.sleep(2.5)
        assert [at - begin for at in tried] == pytest.approx([1, 2])
        contact.answered()
        await asyncio.gather(*tasks)
        assert loop.time() - begin == pytest.approx(2.5)

    run(play())


def test_a_long_rest_ends_when_somebody_is_answered_again_and_another_one_does_not() -> None:
    async def rest_of(contact: Contact) -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await contact.rest(30)
        return loop.time() - begin

    async def play() -> list[float]:
        away, back, well = Contact(), Contact(), Contact()
        away.failed(LOST)
        back.failed(LOST)
        asyncio.get_running_loop().call_later(7, back.answered)
        return await asyncio.gather(*map(rest_of, (away, back, well)))

    assert run(play()) == pytest.approx([30, 7, 30])


async def test_a_server_that_answers_is_not_waited_for() -> None:
    contact = Contact()
    contact.failed(REFUSED)
    async with asyncio.timeout(0.5):
        await contact.regained()


async def test_every_error_counts_by_its_name_also_where_the_request_is_repeated() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0"))
        fake.fail("/pods/web-0", code=429, retry_after=0, times=2)
        fake.fail("/pods/web-0", code=503)
        await client.get(PODS, "web-0", namespace="default", type=Pod)
        with pytest.raises(NotFound):
            await client.get(PODS, "web-1", namespace="default", type=Pod)
        counted = {error: count for error, count in client.contact.errors.items() if count}
    assert counted == {Throttled.__name__: 2, ServerFailure.__name__: 1, NotFound.__name__: 1}
    assert client.contact.problem() is None
