from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.keys import WorkloadKey
from recommender.leadership.shards import Shard

KEYS = [WorkloadKey(f"team-{index % 7}", f"service-{index}") for index in range(2000)]


@given(st.text(), st.text(), st.integers(1, 50))
def test_every_workload_has_exactly_one_shard(namespace: str, name: str, count: int) -> None:
    key = WorkloadKey(namespace, name)
    assert sum(Shard(index, count).owns(key) for index in range(count)) == 1


def test_shards_are_of_similar_size() -> None:
    """Within five standard deviations of 2000 draws among 4."""
    sizes = Counter(index for index in range(4) for key in KEYS if Shard(index, 4).owns(key))
    assert all(abs(sizes[index] - 500) < 5 * (2000 * 0.25 * 0.75) ** 0.5 for index in range(4))


def test_a_single_shard_owns_everything() -> None:
    assert all(map(Shard().owns, KEYS))


@pytest.mark.parametrize(
    ("key", "index"),
    [(("default", "web"), 1), (("default", "batch"), 0), (("team-ä", "x"), 0), (("team-b", "x"), 2)],
)
def test_a_workload_never_changes_its_shard(key: tuple[str, str], index: int) -> None:
    """Stored histories are found by it: these answers, reckoned with `b2sum -l 64`, outlive every version."""
    assert [Shard(each, 3).owns(WorkloadKey(*key)) for each in range(3)].index(True) == index


def test_namespace_and_name_are_not_run_together() -> None:
    near = [WorkloadKey("team-a", f"b{index}") for index in range(64)]
    far = [WorkloadKey("team-", f"ab{index}") for index in range(64)]
    assert [Shard(0, 2).owns(key) for key in near] != [Shard(0, 2).owns(key) for key in far]


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0), (0, -1)])
def test_a_shard_outside_of_its_count_is_refused(index: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"shard {index} of {count}"):
        Shard(index, count)


def test_a_shard_is_written_as_index_of_count() -> None:
    assert str(Shard(2, 5)) == "2-of-5"
