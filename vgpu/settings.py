"""Settings of a service: a YAML file, environment variables and flags, each stronger than the one before."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from vgpu.errors import ExitCode, StartupError
from vgpu.quantities import parse_duration, parse_vram

MASK = "**********"

# RFC 3986: what may stand before the @ of an address as it is.
_USER_INFO = re.compile(r"([A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*")
_PERCENT_ENCODE = (
    "a user and password in an address are percent-encoded, like %40 for @ and %2F for /; of the metric "
    "source they are better given by prometheus_username and prometheus_password_file"
)


class SettingsError(StartupError):
    """One or more settings are unknown or have a value that is not allowed."""

    exit_code: ClassVar[int] = ExitCode.USAGE

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def _seconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a duration is a number of seconds or a text such as 30s, 5m or 24h")  # noqa: TRY004 - pydantic takes ValueErrors
    seconds = parse_duration(value) if isinstance(value, str) and not _is_number(value) else float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("a duration is neither negative nor infinite")
    return seconds


def _bytes(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("a size is a number of bytes or a quantity such as 64Mi or 1Gi")  # noqa: TRY004 - as above
    return parse_vram(value)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?", text.strip()) is not None


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        # The library's own words repeat what it could not read, maybe a password.
        raise ValueError(f"an address is like https://host:9090/path; {_PERCENT_ENCODE}") from None
    user = parts.netloc.rpartition("@")[0]
    if "@" in parts.path or not _USER_INFO.fullmatch(user):
        raise ValueError(_PERCENT_ENCODE)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an address begins with http:// or https:// and names a host")
    if parts.query or parts.fragment:
        raise ValueError("an address has neither a query (?) nor a fragment (#)")
    return value.rstrip("/")


Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A duration in seconds, written as a number of seconds or as a Go duration (30s, 5m, 24h)."""
Bytes = Annotated[int, BeforeValidator(_bytes)]
"""A size in bytes, written as a number or as a Kubernetes quantity (64Mi, 1Gi)."""
WebAddress = Annotated[str, AfterValidator(_web_address)]
"""The base address of an HTTP server, without a slash at its end."""
Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 takes any that is free."""
FilePath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path; a leading ~ is the home directory."""


class ServiceSettings(BaseSettings):
    """What every service has. A service's own model adds fields and its env_prefix.

    Built directly (in tests), a model takes nothing from the environment: `load_settings` is what reads it.
    A setting is called by its field's alias, or else by the field's name.
    """

    model_config = SettingsConfigDict(
        env_prefix="VGPU_", extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True
    )

    kubeconfig: FilePath | None = Field(
        None, description="Kubeconfig file; none: $KUBECONFIG, the service account, or ~/.kube/config"
    )
    namespace: str = Field("vgpu-autoscaler", min_length=1, description="Namespace the product runs in")
    ops_host: str = Field("0.0.0.0", description="Address that /metrics, /healthz and /readyz listen on")  # noqa: S104 - probes and Prometheus come from outside of the pod
    ops_port: Port = Field(8080, description="Port of /metrics, /healthz and /readyz")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged")
    log_format: Literal["json", "text"] = Field("json", description="JSON lines, or text for a person")
    startup_timeout: Seconds = Field(30, gt=0, description="How long to wait for the cluster at start")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what was passed and nothing else: the process's environment must not reach a model unseen."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True, slots=True)
class _Given:
    """One value as somebody gave it, and where: `origin` is a place a person can go to."""

    name: str
    value: object
    origin: str


def load_settings(
    cls: type[S], *, file: Path | None, flags: Mapping[str, object], environ: Mapping[str, str]
) -> S:
    """Read a service's settings; a flag is stronger than the environment, and that than the file.

    Args:
        cls: The service's model.
        file: A YAML file of setting names and values, if there is one.
        flags: Setting names and values; None and an empty tuple mean that the flag was not used.
        environ: The process's environment; only variables with the model's prefix are looked at.

    Raises:
        SettingsError: A name is unknown or a value is not allowed, anywhere; it lists all of them.
    """
    fields = settings_of(cls)
    problems: list[str] = []
    given: dict[str, _Given] = {}
    for item in (*_from_file(file), *_from_environment(cls, environ), *_from_flags(flags)):
        if _is_service_link(item):
            problems.append(_service_link(item))
        elif item.name in fields:
            given[item.name] = item
        else:
            problems.append(_unknown(cls, item))
    try:
        settings = cls.model_validate({item.name: item.value for item in given.values()})
    except ValidationError as error:
        problems += [_refused(cls, given, detail) for detail in error.errors(include_url=False)]
    if problems:
        raise SettingsError(problems)
    return settings


def settings_of(cls: type[ServiceSettings]) -> dict[str, FieldInfo]:
    """The fields of a model by the names of their settings."""
    return {field.alias or name: field for name, field in cls.model_fields.items()}


def environment_variable(cls: type[ServiceSettings], name: str) -> str:
    """The environment variable of a setting."""
    return f"{cls.model_config['env_prefix']}{name.upper()}"


def is_sequence(field: FieldInfo) -> bool:
    """Whether a setting holds several values: a flag given several times, or a text with commas."""
    return get_origin(field.annotation) in {tuple, list, set, frozenset, Sequence}


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting's value must never be shown."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _from_file(file: Path | None) -> Iterator[_Given]:
    if file is None:
        return
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"settings file {file} cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError([f"settings file {file} is not YAML: {_where(error)}"]) from error
    if content is None:
        return
    if not isinstance(content, dict):
        raise SettingsError(
            [f"settings file {file} must hold `name: value` lines, not a {type(content).__name__}"]
        )
    for name, value in content.items():
        yield _Given(str(name), value, f"in {file}")


def _where(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """Place and kind of the mistake, without the line itself: a secret may stand there."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return type(error).__name__
    return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"


def _from_environment(cls: type[ServiceSettings], environ: Mapping[str, str]) -> Iterator[_Given]:
    prefix = cls.model_config["env_prefix"]
    fields = settings_of(cls)
    for variable, text in environ.items():
        # An empty variable is how a manifest or a shell says "not set".
        if not variable.startswith(prefix) or not text:
            continue
        name = variable.removeprefix(prefix).lower()
        several = name in fields and is_sequence(fields[name])
        value = [part.strip() for part in text.split(",")] if several else text
        yield _Given(name, value, f"environment variable {variable}")


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Given]:
    for name, value in flags.items():
        if value is not None and value != ():
            yield _Given(name, value, f"flag --{name.replace('_', '-')}")


def _is_service_link(item: _Given) -> bool:
    """Whether it is one of the variables that Kubernetes makes for each Service of a namespace."""
    if not item.origin.startswith("environment"):
        return False
    address = re.match(r"(tcp|udp|sctp)://", str(item.value))
    name = re.search(r"(^|_)(service_(host|port\w*)|port_\d+_(tcp|udp|sctp)\w*)$", item.name)
    return address is not None or name is not None


def _service_link(item: _Given) -> str:
    return (
        f"setting {item.name!r} ({item.origin}) is {_shown(item.value)}: Kubernetes sets such variables in "
        "each pod for a Service of that name; rename it or set `enableServiceLinks: false` in the pod's spec"
    )


def _unknown(cls: type[ServiceSettings], item: _Given) -> str:
    problem = f"unknown setting {item.name!r} ({item.origin})"
    near = difflib.get_close_matches(item.name.replace("-", "_").lower(), settings_of(cls), n=1)
    if near:
        return f"{problem}; did you mean {near[0]!r}?"
    return f"{problem}; known are: {', '.join(settings_of(cls))}"


def _refused(cls: type[ServiceSettings], given: Mapping[str, _Given], detail: ErrorDetails) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    message = _message(detail)
    if detail["type"] == "missing":
        flag = f"--{name.replace('_', '-')}"
        return f"setting {name!r} is required: give {flag} or {environment_variable(cls, name)}"
    if name not in given:
        return f"settings do not fit together: {message}"
    item = given[name]
    value = item.value
    if is_secret(settings_of(cls)[name]):
        message, value = message.replace(str(value), MASK), MASK
    return f"setting {name!r} ({item.origin}) is {_shown(value)}: {message}"


def _message(detail: ErrorDetails) -> str:
    reason = detail.get("ctx", {}).get("error")
    message = str(reason) if reason is not None else detail["msg"]
    return message[:1].lower() + message[1:]


def _shown(value: object) -> str:
    """A value for an error message: quoted, short, and without the password of an address."""
    text = re.sub(r"//.*@", f"//{MASK}@", str(value), flags=re.DOTALL)
    return repr(text if len(text) <= 200 else f"{text[:200]}...")
