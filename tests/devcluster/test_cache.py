import threading
from pathlib import Path

import pytest
from filelock import FileLock

from devcluster.cache import BinaryCache
from devcluster.errors import BuildLocked, CacheNotWritable
from devcluster.versions import ETCD, Tool


def kept(cache: BinaryCache, tool: Tool = ETCD, content: bytes = b"program") -> Path:
    with cache.workspace() as workspace:
        built = workspace / "result" / tool.name
        built.parent.mkdir()
        built.write_bytes(content)
        built.chmod(0o755)
        return cache.keep(tool, built)


@pytest.fixture
def cache(tmp_path: Path) -> BinaryCache:
    return BinaryCache(tmp_path / "cache")


def test_an_empty_cache_has_nothing(cache: BinaryCache) -> None:
    assert cache.find(ETCD) is None


def test_a_kept_program_is_found(cache: BinaryCache) -> None:
    binary = kept(cache)
    assert cache.find(ETCD) == binary
    assert binary.read_bytes() == b"program"


def test_a_truncated_program_is_not_found(cache: BinaryCache) -> None:
    kept(cache).write_bytes(b"prog")
    assert cache.find(ETCD) is None


def test_a_program_that_may_not_be_run_is_not_found(cache: BinaryCache) -> None:
    kept(cache).chmod(0o644)
    assert cache.find(ETCD) is None


def test_a_program_without_its_record_is_not_found(cache: BinaryCache) -> None:
    (kept(cache).parent / "built.json").unlink()
    assert cache.find(ETCD) is None


def test_a_program_with_half_a_record_is_not_found(cache: BinaryCache) -> None:
    (kept(cache).parent / "built.json").write_text('{"recipe": ')
    assert cache.find(ETCD) is None


def test_a_program_made_by_another_recipe_is_not_found(cache: BinaryCache) -> None:
    kept(cache)
    tagged = Tool(ETCD.name, ETCD.module, ETCD.package, ETCD.version, tags=("other",))
    assert cache.find(tagged) is None


def test_another_version_has_a_place_of_its_own(cache: BinaryCache) -> None:
    newer = Tool(ETCD.name, ETCD.module, ETCD.package, "v9.9.9")
    assert kept(cache) != kept(cache, newer)
    assert cache.find(ETCD) is not None


def test_a_broken_program_is_replaced(cache: BinaryCache) -> None:
    kept(cache).write_bytes(b"")
    binary = kept(cache, content=b"whole")
    assert cache.find(ETCD) == binary
    assert binary.read_bytes() == b"whole"


def test_the_workspace_is_emptied_of_what_an_interrupted_build_left(cache: BinaryCache) -> None:
    with cache.workspace() as workspace:
        left = workspace / "left"
        left.touch()
        with cache.workspace() as again:
            assert list(again.iterdir()) == []


def test_the_workspace_is_removed_after_an_error(cache: BinaryCache) -> None:
    with pytest.raises(RuntimeError), cache.workspace() as workspace:
        raise RuntimeError
    assert not workspace.exists()


def test_a_free_lock_is_taken_without_a_word(cache: BinaryCache) -> None:
    said: list[str] = []
    with cache.locked(on_wait=lambda: said.append("waiting"), patience=1):
        assert said == []


def test_a_second_process_waits_for_the_first_and_says_so(cache: BinaryCache) -> None:
    cache.home.mkdir(parents=True)
    other = FileLock(cache.home / "lock", thread_local=False)
    other.acquire()
    waiting = threading.Event()

    def hold_until_awaited() -> None:
        waiting.wait(10)
        other.release()

    release = threading.Thread(target=hold_until_awaited)
    release.start()
    with cache.locked(on_wait=waiting.set, patience=10):
        assert waiting.is_set()
    release.join()


def test_a_lock_that_is_never_given_up_ends_the_waiting(cache: BinaryCache) -> None:
    cache.home.mkdir(parents=True)
    with (
        FileLock(cache.home / "lock"),
        pytest.raises(BuildLocked, match=str(cache.home / "lock")),
        cache.locked(on_wait=lambda: None, patience=0.01),
    ):
        pass


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "cache"
    with (
        pytest.raises(CacheNotWritable, match=rf"{home}.*Not a directory.*XDG_CACHE_HOME"),
        BinaryCache(home).locked(on_wait=lambda: None, patience=1),
    ):
        pass
