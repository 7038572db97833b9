"""Errors whose text is written for a person, and the exit codes they end a process with."""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What a supervisor or a script can tell from the way a process ended."""

    OK = 0
    FAILURE = 1
    """Anything that has no code of its own."""
    USAGE = 2
    """A setting, a flag or a configuration file is wrong: starting again will not help."""
    CLUSTER = 3
    """The cluster cannot be used: unreachable, forbidden, or without the custom resource definitions."""
    METRIC_SOURCE = 4
    """The metric source cannot be used: it refuses a query, for instance."""


class AutoscalerError(Exception):
    """An error that says what happened, to which object, and what to do; it needs no traceback."""

    exit_code: ClassVar[int] = ExitCode.FAILURE


class StartupError(AutoscalerError):
    """The process cannot start its work."""
