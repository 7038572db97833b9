"""Checkpoints under another number of shards: which to load from, and which are no longer needed. Pure.

A layout is a number of shards. It is complete when each of its shards has a checkpoint, and as old as the
oldest of their newest ones: a layout of which some shards have been stopped for good does not pass for new.
"""

from collections.abc import Iterable, Sequence

from recommender.checkpoints.store import Generation
from recommender.leadership.shards import Shard


def newest_first(known: Iterable[Generation], shard: Shard) -> list[Generation]:
    """The checkpoints of one shard."""
    return sorted((each for each in known if each.shard == shard), key=lambda each: each.number, reverse=True)


def layouts_to_load(known: Sequence[Generation], shard: Shard) -> list[int]:
    """The numbers of shards from whose checkpoints a shard can take its histories, the best first.

    Its own checkpoint is as good as a complete layout. Of those the newest wins; a layout that is not
    complete is better than nothing.
    """
    found = list[tuple[bool, float, bool, int]]()
    for count in {each.shard.count for each in known}:
        newest = _newest_of(known, count)
        own = newest.get(shard.index) if count == shard.count else None
        if own is not None:
            found.append((True, own.written, True, count))
        elif count != shard.count:  # the other shards of its own have nothing of what it serves
            oldest = min(each.written for each in newest.values())
            found.append((len(newest) == count, oldest, False, count))
    return [count for *_, count in sorted(found, reverse=True)]


def layouts_to_remove(known: Sequence[Generation], count: int, *, now: float, settled: float) -> list[Shard]:
    """The shards of former layouts whose checkpoints nobody needs any more.

    That is so once every shard of the present layout has a newer one, and `settled` seconds after the last
    was written there: during a rolling update shards of both layouts are alive.
    """
    present = _newest_of(known, count)
    if len(present) < count:
        return []
    oldest = min(each.written for each in present.values())
    return [
        Shard(index, former)
        for former in sorted({each.shard.count for each in known} - {count})
        if max(each.written for each in known if each.shard.count == former) < min(oldest, now - settled)
        for index in range(former)
    ]


def _newest_of(known: Iterable[Generation], count: int) -> dict[int, Generation]:
    """The newest checkpoint of each shard of a layout that has one, by its index."""
    rising = sorted(known, key=lambda each: each.number)
    return {each.shard.index: each for each in rising if each.shard.count == count}
