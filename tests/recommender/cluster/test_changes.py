from recommender.cluster.changes import Changes
from recommender.keys import WorkloadKey

WEB = WorkloadKey("default", "web")


def test_only_what_the_watch_brings_is_news_of_a_workload() -> None:
    changes = Changes()
    changes.workload(WEB)
    assert changes.take_news() == set()
    changes.new_version(WEB)
    assert (changes.take_news(), changes.take().workloads) == ({WEB}, {WEB})


def test_a_deletion_is_news() -> None:
    changes = Changes()
    changes.deleted_workload(WEB, {})
    assert changes.take_news() == {WEB}
    batch = changes.take()
    assert (batch.deleted_workloads, batch.workloads) == ({WEB: {}}, {WEB})
