import errno
import os
import stat
from pathlib import Path

import pytest

from devcluster.errors import DirectoryInUse, DirectoryNotOurs, DirectoryNotWritable
from devcluster.layout import Layout


def test_the_folders_are_made_for_the_owner_only(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "new" / "cluster")
    with layout.occupied():
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in layout.folders()] == [0o700] * 6


def test_what_an_earlier_cluster_left_is_gone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with layout.occupied():
        (layout.etcd / "data").touch()
    with layout.occupied():
        assert list(layout.etcd.iterdir()) == []


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with (
        pytest.raises(DirectoryNotOurs, match=f"{tmp_path} is neither empty nor"),
        Layout(tmp_path).occupied(),
    ):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_clusters_cannot_share_a_folder(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with layout.occupied():
        (layout.etcd / "data").touch()
        with (
            pytest.raises(DirectoryInUse, match=f"another development cluster runs in {tmp_path}"),
            layout.occupied(),
        ):
            pass
        assert (layout.etcd / "data").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DirectoryNotWritable, match=r"file/cluster \(Not a directory"),
        Layout(tmp_path / "file" / "cluster").occupied(),
    ):
        pass


def test_a_full_disk_names_the_folder_and_the_way_out(tmp_path: Path) -> None:
    with (
        pytest.raises(DirectoryNotWritable, match=rf"{tmp_path} \(No space left on device\).*--dir"),
        Layout(tmp_path).writing(),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
