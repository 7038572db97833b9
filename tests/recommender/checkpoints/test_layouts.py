from recommender.checkpoints.layouts import layouts_to_load, layouts_to_remove, newest_first
from recommender.checkpoints.store import Generation
from recommender.leadership.shards import Shard

HOUR = 3600.0


def layout(count: int, *written: float | None) -> list[Generation]:
    """A generation of each shard; None for a shard that has none."""
    return [
        Generation(Shard(index, count), 1, when) for index, when in enumerate(written) if when is not None
    ]


def test_a_shards_checkpoints_come_newest_first_by_number() -> None:
    known = [Generation(Shard(0, 1), 9, 1.0), Generation(Shard(0, 1), 10, 0.5), *layout(2, 3, 3)]
    assert [each.number for each in newest_first(known, Shard(0, 1))] == [10, 9]


def test_nothing_is_loaded_from_nothing() -> None:
    assert layouts_to_load([], Shard(0, 1)) == []


def test_the_own_checkpoint_wins_over_older_and_over_incomplete_layouts() -> None:
    assert layouts_to_load([*layout(1, 10), *layout(2, 9, 9)], Shard(0, 1)) == [1, 2]
    assert layouts_to_load([*layout(1, 10), *layout(2, 11, None)], Shard(0, 1)) == [1, 2]


def test_a_complete_newer_layout_wins_over_the_own_checkpoint() -> None:
    assert layouts_to_load([*layout(1, 10), *layout(2, 12, 11)], Shard(0, 1)) == [2, 1]


def test_a_layout_of_which_a_shard_has_long_stopped_is_not_newer() -> None:
    assert layouts_to_load([*layout(1, 10), *layout(2, 12, 9)], Shard(0, 1)) == [1, 2]


def test_an_incomplete_layout_is_better_than_nothing() -> None:
    assert layouts_to_load(layout(3, 5, None, 5), Shard(0, 1)) == [3]


def test_the_other_shards_of_the_own_layout_have_nothing_for_this_one() -> None:
    assert layouts_to_load([*layout(2, 20, None), *layout(1, 10)], Shard(1, 2)) == [1]


def removed(known: list[Generation], count: int, *, now: float) -> list[Shard]:
    return layouts_to_remove(known, count, now=now, settled=HOUR)


def test_former_checkpoints_go_once_every_shard_has_saved_and_nobody_saves_the_former_way() -> None:
    known = [*layout(1, 0.0), *layout(3, 10.0, 20.0, 30.0)]
    assert removed(known, 3, now=1 + HOUR) == [Shard(0, 1)]
    assert removed(layout(3, 10.0, 20.0, 30.0) + layout(2, 0.0, None), 3, now=1 + HOUR) == [
        Shard(0, 2),
        Shard(1, 2),
    ]


def test_former_checkpoints_stay_until_every_shard_has_saved() -> None:
    assert removed([*layout(1, 0.0), *layout(3, 10.0, None, 30.0)], 3, now=9 * HOUR) == []


def test_former_checkpoints_stay_where_one_is_newer_than_a_present_one() -> None:
    assert removed([*layout(1, 15.0), *layout(3, 10.0, 20.0, 30.0)], 3, now=9 * HOUR) == []


def test_checkpoints_that_were_written_lately_stay() -> None:
    known = [*layout(2, 0.0, 1.0), *layout(1, 600.0)]
    assert removed(known, 1, now=600.0) == []
    # Nor does a shard that is about to be stopped remove those of its successors.
    assert removed([*layout(2, 500.0, None), *layout(1, 600.0)], 1, now=650.0) == []
