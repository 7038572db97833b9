from recommender.changes import Changes
from recommender.keys import WorkloadKey

WEB = WorkloadKey("default", "web")


def test_only_what_the_watch_brings_is_news_of_a_workload() -> None:
    changes = Changes()
    changes.workload(WEB)
    assert changes.take().news == set()
    changes.new_version(WEB)
    batch = changes.take()
    assert (batch.news, batch.workloads) == ({WEB}, {WEB})


def test_a_deletion_is_news() -> None:
    changes = Changes()
    changes.deleted_workload(WEB)
    batch = changes.take()
    assert (batch.news, batch.deleted_workloads, batch.workloads) == ({WEB}, {WEB}, {WEB})
