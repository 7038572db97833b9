"""Where the files are that devcluster needs, in a checkout as in an installed wheel."""

from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path

_PACKAGE = Path(__file__).resolve().parent


def manifests() -> Path:
    """The folder with the Kubernetes manifests (`crds/` and its siblings).

    Raises:
        FileNotFoundError: if neither the wheel's copy nor the checkout's folder exists.
    """
    candidates = (_PACKAGE / "manifests", _PACKAGE.parent / "manifests")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " or ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"no manifests at {looked}: the installation is incomplete, install it again")


def tool_modules() -> Path:
    """The folder with one Go module for each project that we compile programs of."""
    return _PACKAGE / "tools"


def stages() -> Path:
    """The kwok Stage objects: how simulated nodes and pods behave."""
    return _PACKAGE / "stages.yaml"


def cache_home(environ: Mapping[str, str]) -> Path:
    """The user's cache folder for us; XDG_CACHE_HOME moves it, on every platform."""
    configured = environ.get("XDG_CACHE_HOME", "")
    if Path(configured).is_absolute():
        return Path(configured) / "vgpu-autoscaler"
    return user_cache_path("vgpu-autoscaler")
