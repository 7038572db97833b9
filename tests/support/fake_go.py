"""A `go` that behaves as the real one does towards a builder, in a few milliseconds."""

from pathlib import Path

_SCRIPT = r"""#!/bin/sh
# Answers `env`, `list` and `build` as go does; packages.txt is what is not compiled yet.
here=$(dirname "$0")
echo "$@" >> "$here/calls.txt"
case "$1" in
env)
    [ "$2" = GOVERSION ] && echo "@VERSION@" || echo "$here/gocache" ;;
list)
    [ -f "$here/downloads.txt" ] && sed 's/^/go: downloading /' "$here/downloads.txt" >&2
    echo "false unsafe "
    sed 's/^/true /; s/$/ build ID mismatch/' "$here/packages.txt"
    echo "true command/itself not installed but available in build cache" ;;
build)
    cat "$here/packages.txt" >&2
    while [ $# -gt 0 ]; do [ "$1" = -o ] && output=$2; shift; done
    @BUILD@ ;;
esac
"""

BUILDS = 'mkdir -p "$(dirname "$output")" && echo binary > "$output" && chmod +x "$output"'


def fake_go(folder: Path, *, version: str = "go1.99.0", packages: int = 3, build: str = BUILDS) -> Path:
    """Put a `go` into `folder`; `build` is the shell command that makes (or fails to make) `$output`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "packages.txt").write_text("".join(f"example.com/package{n}\n" for n in range(packages)))
    go = folder / "go"
    go.write_text(_SCRIPT.replace("@VERSION@", version).replace("@BUILD@", build))
    go.chmod(0o755)
    return go


def calls(folder: Path) -> list[str]:
    """The command lines that the `go` in `folder` was given."""
    return (folder / "calls.txt").read_text().splitlines()
