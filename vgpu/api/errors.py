"""What is wrong with a configuration, all of it at once, each with the path of its field."""

import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import ValidationError
from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: where, like `spec.autoScalingConfig.cronScalingRules[0]`.
        message: what it holds and what is allowed.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class FieldProblems(ValueError):
    """Problems between the fields of one object, on their way through pydantic; paths are relative to it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class ConfigurationError(ValueError):
    """A spec cannot be used; `problems` has everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)

    @classmethod
    def from_validation(cls, error: ValidationError, *, root: str) -> Self:
        """Pydantic's findings, with paths that begin at `root`."""
        return cls([problem for details in error.errors() for problem in _problems(details, root)])


def _problems(details: ErrorDetails, root: str) -> Iterator[Problem]:
    path = _path(root, details["loc"])
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, FieldProblems):
        for problem in cause.problems:
            yield Problem(f"{path}.{problem.path}", problem.message)
    elif cause is not None:
        yield Problem(path, str(cause))
    else:
        yield Problem(path, f"{details['msg']} (found {reprlib.repr(details['input'])})")


def _path(root: str, location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return root + "".join(steps)
