"""What can be wrong with what a simulation is given: where, what stands there, and what is allowed."""

import reprlib
from collections.abc import Sequence
from typing import ClassVar, Final

from vgpu.errors import AutoscalerError, ExitCode

_quoted: Final = reprlib.Repr()
_quoted.maxstring = _quoted.maxother = 60


def quoted(value: object) -> str:
    """A value for an error message, in quotes and short."""
    return _quoted.repr(value)


class SimulationError(AutoscalerError):
    """Something that was given cannot be used; giving it again will not help."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class BadUsage(SimulationError):
    """The file of usage cannot be read, or a row of it."""

    def __init__(
        self, file: str, problem: str, *, line: int | None = None, column: str | None = None
    ) -> None:
        where = [file, *([f"line {line}"] if line else []), *([f"column {column}"] if column else [])]
        super().__init__(f"{', '.join(where)}: {problem}")


class BadProfile(SimulationError):
    """The profile, or the slice that is to be tried, is not one."""

    def __init__(self, origin: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"{origin}: {problem}" for problem in problems))


class TooLong(SimulationError):
    """Nobody would wait for so many steps."""

    def __init__(self, steps: int, *, first: str, last: str, most: int) -> None:
        super().__init__(
            f"from {first} to {last} there are {steps:,} steps, and at most {most:,} are simulated: "
            "choose a longer --interval, or look for a wrong timestamp"
        )
