"""How owners of many pods are looked up at once."""

from collections.abc import Sequence

from recommender.cluster.owners import OwnerLookup
from tests.support import builders
from tests.support.fake_kube import FakeKube
from vgpu.kube.resources import REPLICA_SETS
from vgpu.naming import Owner

LIST = "/apis/apps/v1/replicasets"
LIST_OF_TEAM = "/apis/apps/v1/namespaces/team/replicasets"

Wanted = Sequence[tuple[str, Owner]]


def put_replica_sets(kube: FakeKube, count: int, *, namespaces: int = 1) -> Wanted:
    """ReplicaSets with a Deployment each, as owners of pods."""
    wanted = []
    for number in range(count):
        namespace = "team" if namespaces == 1 else f"team-{number % namespaces}"
        kube.put(REPLICA_SETS, replica_set := builders.replica_set(f"web-{number}", namespace=namespace))
        metadata = kube.get(REPLICA_SETS, namespace, replica_set["metadata"]["name"])["metadata"]
        wanted.append((namespace, Owner("apps/v1", "ReplicaSet", metadata["name"], metadata["uid"])))
    return wanted


async def names_of(lookup: OwnerLookup, wanted: Wanted) -> set[str]:
    """The names of all parents."""
    parents = [await lookup.parent_of(namespace, owner) for namespace, owner in wanted]
    return {parent.name for parent in parents if parent is not None}


def paths(kube: FakeKube) -> list[str]:
    return [request.path for request in kube.requests]


async def test_the_owners_of_many_pods_in_a_namespace_are_listed() -> None:
    async with FakeKube() as kube, kube.client() as client:
        wanted, lookup = put_replica_sets(kube, 40), OwnerLookup(client)
        async with lookup.expecting(wanted):
            assert await names_of(lookup, wanted) == {f"web-{number}" for number in range(40)}
    assert paths(kube) == [LIST_OF_TEAM]
    assert "as=PartialObjectMetadataList" in kube.requests[0].headers["Accept"]


async def test_what_was_listed_is_remembered_of_those_alone_that_were_asked_for() -> None:
    async with FakeKube() as kube, kube.client() as client:
        wanted, lookup = put_replica_sets(kube, 40), OwnerLookup(client)
        async with lookup.expecting(wanted):
            await names_of(lookup, wanted[:39])
        await names_of(lookup, wanted)
    assert paths(kube) == [LIST_OF_TEAM, f"{LIST_OF_TEAM}/{wanted[39][1].name}"]


async def test_the_owners_of_few_pods_are_read_one_by_one() -> None:
    async with FakeKube() as kube, kube.client() as client:
        wanted, lookup = put_replica_sets(kube, 3), OwnerLookup(client)
        async with lookup.expecting(wanted):
            assert len(await names_of(lookup, wanted)) == 3
    assert paths(kube) == [f"{LIST_OF_TEAM}/{owner.name}" for _, owner in wanted]


async def test_owners_that_are_known_are_not_listed_again() -> None:
    async with FakeKube() as kube, kube.client() as client:
        wanted, lookup = put_replica_sets(kube, 40), OwnerLookup(client)
        for _ in range(2):
            async with lookup.expecting(wanted):
                await names_of(lookup, wanted)
    assert paths(kube) == [LIST_OF_TEAM]


async def test_the_owners_of_pods_in_very_many_namespaces_are_listed_over_all_of_them() -> None:
    async with FakeKube() as kube, kube.client() as client:
        wanted, lookup = put_replica_sets(kube, 501, namespaces=100), OwnerLookup(client)
        async with lookup.expecting(wanted):
            assert len(await names_of(lookup, wanted)) == 501
    assert set(paths(kube)) == {LIST}


async def test_where_listing_is_not_allowed_owners_are_read_one_by_one_and_no_list_is_tried_again() -> None:
    async with FakeKube() as kube, kube.client() as client:
        wanted, lookup = put_replica_sets(kube, 80), OwnerLookup(client)
        kube.fail(f"{LIST_OF_TEAM}$", code=403, reason="Forbidden")
        for some in (wanted[:40], wanted[40:]):
            async with lookup.expecting(some):
                assert len(await names_of(lookup, some)) == 40
    assert paths(kube).count(LIST_OF_TEAM) == 1


async def test_a_replica_set_without_an_owner_is_read_again_since_it_may_have_got_one() -> None:
    async with FakeKube() as kube, kube.client() as client:
        wanted, lookup = put_replica_sets(kube, 40), OwnerLookup(client)
        orphan = kube.get(REPLICA_SETS, *_name(wanted[0]))
        adopted = orphan["metadata"].pop("ownerReferences")
        kube.put(REPLICA_SETS, orphan)
        async with lookup.expecting(wanted):
            orphan["metadata"]["ownerReferences"] = adopted
            kube.put(REPLICA_SETS, orphan)
            assert await names_of(lookup, wanted[:1]) == {"web-0"}


def _name(wanted: tuple[str, Owner]) -> tuple[str, str]:
    return wanted[0], wanted[1].name
